/* label.c: see label.h. */
#include "augment/label.h"
#include <string.h>

typedef struct glyph {
    char        name;
    const char *dots;   /* five rows of three */
} glyph;

static const glyph font[] = {
    { '0', "####.##.##.####" }, { '1', ".#.##..#..#.###" }, { '2', "##...#.#.#..###" }, { '3', "##...#.#...###." },
    { '4', "#.##.####..#..#" }, { '5', "####..##...###." }, { '6', ".###..####.####" }, { '7', "###..#.#..#..#." },
    { '8', "####.#####.####" }, { '9', "####.####..###." }, { 'A', ".#.#.####.##.##" }, { 'B', "##.#.###.#.###." },
    { 'C', ".###..#..#...##" }, { 'D', "##.#.##.##.###." }, { 'E', "####..##.#..###" }, { 'F', "####..##.#..#.." },
    { 'G', ".###..#.##.#.##" }, { 'H', "#.##.####.##.##" }, { 'I', "###.#..#..#.###" }, { 'J', "..#..#..##.#.#." },
    { 'K', "#.##.###.#.##.#" }, { 'L', "#..#..#..#..###" }, { 'M', "#.#####.##.##.#" }, { 'N', "##.#.##.##.##.#" },
    { 'O', ".#.#.##.##.#.#." }, { 'P', "##.#.###.#..#.." }, { 'Q', ".#.#.##.##.#.##" }, { 'R', "##.#.###.#.##.#" },
    { 'S', ".###...#...###." }, { 'T', "###.#..#..#..#." }, { 'U', "#.##.##.##.####" }, { 'V', "#.##.##.##.#.#." },
    { 'W', "#.##.##.#####.#" }, { 'X', "#.##.#.#.#.##.#" }, { 'Y', "#.##.#.#..#..#." }, { 'Z', "###..#.#.#..###" },
    { '.', "............#.." }, { '-', "......###......" }, { '=', "...###...###..." }, { ':', "....#.....#...." },
};

static const char *dots_of(char c)
{
    if (c >= 'a' && c <= 'z') c = (char)(c - 'a' + 'A');
    for (unsigned i = 0; i < sizeof font / sizeof font[0]; i++)
        if (font[i].name == c) return font[i].dots;
    return NULL;
}

static void draw_glyph(uint8_t *at, int64_t width, int64_t channels, int scale, const char *dots)
{
    for (int64_t y = 0; y < 5 * scale; y++)
        for (int64_t x = 0; x < 3 * scale; x++)
            if (dots[y / scale * 3 + x / scale] == '#') memset(at + (y * width + x) * channels, 0, (size_t)channels);
}

void clvi_label_draw(uint8_t *pixels, int64_t width, int64_t channels, int64_t top, int64_t left, int64_t room, int scale,
                     const char *text)
{
    const int64_t step = (int64_t)CLVI_LABEL_WIDTH * scale;
    for (int64_t i = 0; text[i] && (i + 1) * step <= room && left + (i + 1) * step <= width; i++) {
        const char *dots = dots_of(text[i]);
        if (dots) draw_glyph(pixels + (top * width + left + i * step) * channels, width, channels, scale, dots);
    }
}
