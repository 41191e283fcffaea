/* registry.c: the steps of registry.def, by number and by name. */
#include "augment/augment.h"

#define CLVI_AUGMENT(name) extern const clvi_augment_class clvi_augment_##name;
#include "augment/registry.def"
#undef CLVI_AUGMENT

#define CLVI_AUGMENT(name) &clvi_augment_##name,
static const clvi_augment_class *const classes[] = {
#include "augment/registry.def"
};
#undef CLVI_AUGMENT

const clvi_augment_class *clvi_augment_class_at(int i)
{
    return i >= 0 && i < (int)CLVI_COUNT(classes) ? classes[i] : NULL;
}

const clvi_augment_class *clvi_augment_class_find(const char *name)
{
    for (size_t i = 0; i < CLVI_COUNT(classes); i++)
        if (clvi_name_equal(classes[i]->info.name, name)) return classes[i];
    return NULL;
}

int clv_augment_count(void)
{
    return (int)CLVI_COUNT(classes);
}

const clv_class_info *clv_augment_info_at(int i)
{
    const clvi_augment_class *class = clvi_augment_class_at(i);
    return class ? &class->info : NULL;
}

const clv_option_info *clv_augment_option_at(int i, int option)
{
    const clvi_augment_class *class = clvi_augment_class_at(i);
    return class && option >= 0 && option < class->info.option_count ? &class->options[option].info : NULL;
}
