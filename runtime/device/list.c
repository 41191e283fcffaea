/* list.c: the devices of this machine, for people. */
#include <cleave/device.h>
#include "device/device.h"

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

bool clv_device_at(clv_context *ctx, int index, clv_device_info *out)
{
    char processor[128];
    if (!ctx || !out || index < 0 || index > 1) return false;
    memset(out, 0, sizeof *out);
    if (index == 1) {
        snprintf(out->name, sizeof out->name, "cuda");
        snprintf(out->description, sizeof out->description, "this build has no GPU backend");
        return true;
    }
    processor_name(processor, sizeof processor);
    snprintf(out->name, sizeof out->name, "cpu");
    out->available = true;
    snprintf(out->description, sizeof out->description, "%s, %s, %d threads, float32", processor, isa_names[clvi_cpu_isa()],
             clv_context_threads(ctx));
    return true;
}
