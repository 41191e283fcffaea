/* list.c: the devices of this machine, for people. */
#include <cleave/device.h>
#include "core/checked.h"
#include "device/backend.h"

#include <stdio.h>
#include <string.h>

static const char *const isa_names[] = { "plain C", "AVX2", "AVX-512", "AVX-512 with bfloat16" };

/* The processor's name as the system tells it; "CPU" elsewhere. */
static void processor_name(char *name, size_t size)
{
    char line[256];
    snprintf(name, size, "CPU");
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (file) fclose(file);
}

static void describe_cpu(clv_context *ctx, clv_device_info *out)
{
    char processor[128];
    processor_name(processor, sizeof processor);
    snprintf(out->name, sizeof out->name, "cpu");
    out->available = true;
    snprintf(out->description, sizeof out->description, "%s, %s, %d threads, float32", processor, isa_names[clvi_cpu_isa()],
             clv_context_threads(ctx));
}

/* Device `index` of a backend, or, as its only one, why there is none. */
static bool describe_other(const char *name, const clvi_backend *backend, const char *why, int index, clv_device_info *out)
{
    char reason[256];
    snprintf(reason, sizeof reason, "%s", why);
    const int count = backend ? backend->count(reason, sizeof reason) : 0;
    if (index >= CLVI_MAX(count, 1)) return false;
    out->available = count > 0;
    if (count > 0) {
        snprintf(out->name, sizeof out->name, "%s:%d", name, index);
        return backend->describe(index, out->description, sizeof out->description);
    }
    snprintf(out->name, sizeof out->name, "%s", name);
    snprintf(out->description, sizeof out->description, "%s", reason);
    return true;
}

bool clv_device_at(clv_context *ctx, int index, clv_device_info *out)
{
    if (!ctx || !out || index < 0) return false;
    memset(out, 0, sizeof *out);
    if (index == 0) {
        describe_cpu(ctx, out);
        return true;
    }
    const char *name, *why;
    const clvi_backend *backend;
    char unused[256];
    index--;
    for (int i = 0; clvi_backend_at(i, &name, &backend, &why); i++) {
        const int count = backend ? CLVI_MAX(backend->count(unused, sizeof unused), 1) : 1;
        if (index < count) return describe_other(name, backend, why, index, out);
        index -= count;
    }
    return false;
}
