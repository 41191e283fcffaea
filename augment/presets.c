/* presets.c: the published chains of presets.def. */
#include "augment/augment.h"

static const clv_augment_preset presets[] = {
#define CLVI_PRESET(name, summary, source, eval, text) { name, summary, source, text, eval },
#include "augment/presets.def"
#undef CLVI_PRESET
};

int clv_augment_preset_count(void)
{
    return (int)CLVI_COUNT(presets);
}

const clv_augment_preset *clv_augment_preset_at(int i)
{
    return i >= 0 && i < (int)CLVI_COUNT(presets) ? &presets[i] : NULL;
}

const clv_augment_preset *clv_augment_preset_find(const char *name)
{
    for (size_t i = 0; i < CLVI_COUNT(presets); i++)
        if (name && clvi_name_equal(presets[i].name, name)) return &presets[i];
    return NULL;
}
