/* landscapes.c: computed pictures to look at where no data set is given: sky with a sun and clouds, hills, and a lake
 * with a house or a field with trees, with grain. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>

typedef struct painter {
    double   number, grain;
    double   field;   /* 1: a field with trees; 0: a lake with a house */
    double   shift;   /* of sun and house, in pixels */
    uint8_t *out;
} painter;

static void put(painter *p, double value)
{
    *p->out++ = (uint8_t)fmin(fmax(trunc(value + p->grain), 0), 255);
}

static void rgb(painter *p, double r, double g, double b)
{
    put(p, r);
    put(p, g);
    put(p, b);
}

static void paint_sky(painter *p, double x, double y)
{
    const double sun_x = fmod((p->field ? 70 : 250) + p->shift, CLI_LANDSCAPE_WIDTH);
    const double far = sqrt((x - sun_x) * (x - sun_x) + (y - 50) * (y - 50));
    const double cloud = fmax(40 * sin(x / 29 + 3 * sin(y / 17)) * sin(y / 11 + p->number), 0);
    if (far < 22) {
        rgb(p, 255, 236, p->field ? 150 : 190);
    } else if (p->field) {
        rgb(p, 235 - y / 3 + cloud + 900 / (far + 9), 150 + y / 4 + cloud, 120 - y / 3 + cloud);
    } else {
        rgb(p, 105 - y / 3 + cloud + 900 / (far + 9), 165 + y / 4 + cloud, 235 + cloud);
    }
}

static void paint_house(painter *p, double x, double y)
{
    if (y < 128) rgb(p, 150, 52, 40);
    else if (x > 95 && x < 112 && y > 138 && y < 154) rgb(p, 250, 226, 120);
    else if (x > 126 && x < 140 && y > 142) rgb(p, 84, 54, 34);
    else rgb(p, 226, 214, 190);
}

static bool in_house(double x, double y)
{
    return x > 80 && x < 152 && y > 104 && y < 172 && (y > 128 || fabs(x - 116) < (y - 104) * 1.6);
}

static bool in_tree(double x, double y)
{
    const double at = fmod(x, 64);
    return at > 18 && at < 46 && y > 84 && y < 178 && fabs(at - 32) * 4 < fmod(y - 84, 34) + 8;
}

static void paint_pixel(painter *p, double x, double y)
{
    const double hill = 118 + 16 * sin(x / 41 + p->number * 2) + 7 * sin(x / 13);
    const double mountain = 96 + 14 * sin(x / 67 + 1 + p->number);
    const double stands = fmod(x + p->shift, CLI_LANDSCAPE_WIDTH);
    if (!p->field && in_house(stands, y)) paint_house(p, stands, y);
    else if (p->field && in_tree(stands, y)) rgb(p, 24 + fmod(x, 7), 70 + fmod(y, 23), 38);
    else if (y < mountain) paint_sky(p, x, y);
    else if (y < hill) rgb(p, 96 + p->field * 30, 112, 138 - p->field * 20);
    else if (y < 176) rgb(p, 70 + 20 * sin(x / 5) * sin(y / 4), 128 + 26 * sin(y / 9 + x / 31), 52);
    else if (p->field) rgb(p, 196 + 22 * sin(y / 3), 168 + 18 * sin(y / 3 + x / 90), 70);
    else rgb(p, 44 + 14 * sin(y + x / 9), 92 + 22 * sin(y / 2), 142 + 30 * sin(y / 2 + x / 23));
}

uint8_t *cli_landscapes(int64_t count)
{
    uint8_t *pixels = malloc((size_t)count * CLI_LANDSCAPE_HEIGHT * CLI_LANDSCAPE_WIDTH * 3);
    painter p = { .out = pixels };
    uint32_t grain = 7;
    for (int64_t k = 0; pixels && k < count; k++) {
        p.number = (double)k;
        p.field = (double)(k % 2);
        p.shift = (double)(k / 2 * 83 % CLI_LANDSCAPE_WIDTH);
        for (int y = 0; y < CLI_LANDSCAPE_HEIGHT; y++)
            for (int x = 0; x < CLI_LANDSCAPE_WIDTH; x++) {
                grain = (grain * 1103 + 12345) % 65536;
                p.grain = (double)grain / 8192 - 4;
                paint_pixel(&p, x, y);
            }
    }
    return pixels;
}
