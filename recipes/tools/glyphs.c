/* glyphs.c: draws a data set of letters from the fonts of a machine, as recipes/data/glyphs.h5 was drawn.
 *
 *   glyphs OUTPUT.h5 [DRAWS [FOLDER...]]     default: one draw of each letter, /usr/share/fonts
 *
 * One face a family (the first by path), capitals A to Z, rendered at 40 pixels, fitted to a box of 22 in 28x28, then
 * turned by up to 20 degrees, scaled by 0.6 to 1, sheared by up to 0.2 and shifted by up to 4 pixels, all from a fixed
 * seed. Families without all letters, and families whose letters are near copies of an earlier one's, are left out.
 * Between a fifth and a quarter of the families become the test split. Whether the fonts' licences allow passing the
 * result on is for the user to check: see the list printed to standard output. */
#include <ft2build.h>
#include FT_FREETYPE_H
#include <hdf5.h>
#include <dirent.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { LETTERS = 26, SIDE = 28, AREA = SIDE * SIDE, BOX = 22, RENDER = 40, MAX_FAMILIES = 4096, MAX_DEPTH = 8 };
#define SEED           UINT64_C(20240229)
#define TEST_SHARE     0.2276          /* of the families: 33 of 145 */
#define NEAR_COPY      6.0             /* mean absolute difference of the letters, in grey levels */

typedef struct family {
    char    *name, *style;
    uint8_t *letters;       /* [LETTERS, SIDE, SIDE], upright */
} family;

typedef struct set {
    FT_Library library;
    family     families[MAX_FAMILIES];
    int        count;
} set;

/* Uniform in [0, 1): SplitMix64 of what is drawn (Steele et al. 2014). */
static double uniform(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    uint64_t z = SEED;
    const uint64_t parts[4] = { a, b, c, d };
    for (int i = 0; i < 4; i++) {
        z += parts[i] + UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
    }
    return (double)(z >> 11) * 0x1p-53;
}

/* ---- drawing ---- */

/* Ink of the bitmap's area [x0, x1) x [y0, y1), averaged. */
static double average(const FT_Bitmap *b, double x0, double x1, double y0, double y1)
{
    double sum = 0.0;
    for (int y = (int)floor(y0); y < ceil(y1) && y < (int)b->rows; y++) {
        for (int x = (int)floor(x0); x < ceil(x1) && x < (int)b->width; x++) {
            const double w = fmin(x + 1, x1) - fmax(x, x0), h = fmin(y + 1, y1) - fmax(y, y0);
            sum += w * h * b->buffer[y * b->pitch + x];
        }
    }
    return sum / ((x1 - x0) * (y1 - y0));
}

/* The bitmap with its longer side brought to BOX, in the middle of the picture. */
static void fit(const FT_Bitmap *b, uint8_t *out)
{
    const double scale = fmax(b->width, b->rows) / (double)BOX;
    const int w = (int)fmax(1, lround(b->width / scale)), h = (int)fmax(1, lround(b->rows / scale));
    const double sx = (double)b->width / w, sy = (double)b->rows / h;
    memset(out, 0, AREA);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            out[(y + (SIDE - h) / 2) * SIDE + x + (SIDE - w) / 2] =
                (uint8_t)lround(average(b, x * sx, (x + 1) * sx, y * sy, (y + 1) * sy));
}

static double pixel(const uint8_t *in, int y, int x)
{
    return y >= 0 && y < SIDE && x >= 0 && x < SIDE ? in[y * SIDE + x] : 0.0;
}

static double bilinear(const uint8_t *in, double y, double x)
{
    const int y0 = (int)floor(y), x0 = (int)floor(x);
    const double fy = y - y0, fx = x - x0;
    return (1 - fy) * ((1 - fx) * pixel(in, y0, x0) + fx * pixel(in, y0, x0 + 1)) +
           fy * ((1 - fx) * pixel(in, y0 + 1, x0) + fx * pixel(in, y0 + 1, x0 + 1));
}

/* Turned, scaled, sheared and shifted, by going from each output pixel back to the letter. */
static void disturb(const uint8_t *in, uint64_t who, uint64_t letter, uint64_t draw, uint8_t *out)
{
    double u[5];
    for (int i = 0; i < 5; i++) u[i] = uniform(who, letter, draw, (uint64_t)i);
    const double angle = (2 * u[0] - 1) * 20 * acos(-1.0) / 180, scale = 0.6 + 0.4 * u[1], shear = (2 * u[2] - 1) * 0.2;
    const double dx = (2 * u[3] - 1) * 4, dy = (2 * u[4] - 1) * 4, middle = (SIDE - 1) / 2.0;
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            const double px = (x - middle - dx) / scale, py = (y - middle - dy) / scale;
            const double rx = cos(angle) * px + sin(angle) * py, ry = -sin(angle) * px + cos(angle) * py;
            out[y * SIDE + x] = (uint8_t)lround(bilinear(in, ry + middle, rx + shear * ry + middle));
        }
    }
}

/* ---- fonts ---- */

static int draw_letters(FT_Face face, uint8_t *letters)
{
    if (FT_Set_Pixel_Sizes(face, 0, RENDER)) return 0;
    for (int i = 0; i < LETTERS; i++) {
        const FT_ULong code = (FT_ULong)('A' + i);
        if (!FT_Get_Char_Index(face, code) || FT_Load_Char(face, code, FT_LOAD_RENDER)) return 0;
        const FT_Bitmap *b = &face->glyph->bitmap;
        if (b->pixel_mode != FT_PIXEL_MODE_GRAY || b->width < 2 || b->rows < 2) return 0;
        fit(b, letters + i * AREA);
    }
    return 1;
}

static int is_new(const set *s, const char *name, const uint8_t *letters)
{
    for (int f = 0; f < s->count; f++) {
        double sum = 0.0;
        if (strcmp(s->families[f].name, name) == 0) return 0;
        for (int i = 0; i < LETTERS * AREA; i++) sum += abs(letters[i] - s->families[f].letters[i]);
        if (sum / (LETTERS * AREA) < NEAR_COPY) return 0;
    }
    /* Letters that all look alike are placeholders. */
    return memcmp(letters, letters + AREA, AREA) != 0;
}

static void add_font(set *s, const char *path)
{
    FT_Face face;
    if (s->count == MAX_FAMILIES || FT_New_Face(s->library, path, 0, &face)) return;
    uint8_t *letters = malloc(LETTERS * AREA);
    if (letters && face->family_name && draw_letters(face, letters) && is_new(s, face->family_name, letters)) {
        s->families[s->count++] = (family){ strdup(face->family_name),
                                            strdup(face->style_name ? face->style_name : ""), letters };
        letters = NULL;
    }
    free(letters);
    FT_Done_Face(face);
}

static void add_folder(set *s, const char *folder, int depth)
{
    struct dirent **entries = NULL;
    const int n = depth > MAX_DEPTH ? 0 : scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[4096];
        struct stat info;
        const char *name = entries[i]->d_name, *dot = strrchr(name, '.');
        const int length = snprintf(path, sizeof path, "%s/%s", folder, name);
        if (name[0] != '.' && length < (int)sizeof path && stat(path, &info) == 0) {
            if (S_ISDIR(info.st_mode)) add_folder(s, path, depth + 1);
            else if (dot && (!strcasecmp(dot, ".ttf") || !strcasecmp(dot, ".otf") || !strcasecmp(dot, ".pfb")))
                add_font(s, path);
        }
        free(entries[i]);
    }
    free(entries);
}

/* ---- the file ---- */

static int is_test(int f)
{
    return uniform((uint64_t)f, 0, 0, 99) < TEST_SHARE;
}

static herr_t write_array(hid_t group, const char *name, hid_t stored, hid_t type, int ndim, const hsize_t *dims,
                          const void *data)
{
    const hid_t space = H5Screate_simple(ndim, dims, NULL);
    const hid_t array = H5Dcreate2(group, name, stored, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const herr_t bad = H5Dwrite(array, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    H5Dclose(array);
    H5Sclose(space);
    return bad;
}

static herr_t write_split(const set *s, hid_t file, const char *name, int test, int draws)
{
    int families = 0;
    for (int f = 0; f < s->count; f++) families += is_test(f) == test;
    const hsize_t n = (hsize_t)families * LETTERS * (hsize_t)draws, dims[4] = { n, SIDE, SIDE, 1 };
    uint8_t *pixels = malloc(n * AREA + 1);
    int64_t *labels = malloc((n + 1) * sizeof *labels), *who = malloc((n + 1) * sizeof *who);
    herr_t bad = pixels && labels && who && n ? 0 : -1;
    hsize_t at = 0;
    for (int f = 0; f < s->count && bad >= 0; f++) {
        for (int k = 0; k < LETTERS * draws && is_test(f) == test; k++, at++) {
            labels[at] = k % LETTERS;
            who[at] = f;
            disturb(s->families[f].letters + k % LETTERS * AREA, (uint64_t)f, (uint64_t)(k % LETTERS),
                    (uint64_t)(k / LETTERS), pixels + at * AREA);
        }
    }
    const hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (bad >= 0) bad = write_array(group, "images", H5T_STD_U8LE, H5T_NATIVE_UINT8, 4, dims, pixels);
    if (bad >= 0) bad = write_array(group, "labels", H5T_STD_I64LE, H5T_NATIVE_INT64, 1, dims, labels);
    if (bad >= 0) bad = write_array(group, "family", H5T_STD_I64LE, H5T_NATIVE_INT64, 1, dims, who);
    H5Gclose(group);
    free(pixels);
    free(labels);
    free(who);
    return bad;
}

static herr_t write_class_names(hid_t file)
{
    char names[LETTERS][2];
    const hsize_t n = LETTERS;
    for (int i = 0; i < LETTERS; i++) {
        names[i][0] = (char)('A' + i);
        names[i][1] = 0;
    }
    const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate_simple(1, &n, NULL);
    H5Tset_size(type, 2);
    const hid_t attr = H5Acreate2(file, "class_names", type, space, H5P_DEFAULT, H5P_DEFAULT);
    const herr_t bad = H5Awrite(attr, type, names);
    H5Aclose(attr);
    H5Sclose(space);
    H5Tclose(type);
    return bad;
}

static int write_set(const set *s, const char *path, int draws)
{
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (file < 0) return 0;
    herr_t bad = write_class_names(file);
    if (bad >= 0) bad = write_split(s, file, "train", 0, draws);
    if (bad >= 0) bad = write_split(s, file, "test", 1, draws);
    return H5Fclose(file) >= 0 && bad >= 0;
}

int main(int argc, char **argv)
{
    static set s;
    const int draws = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1;
    if (argc < 2 || draws < 1 || draws > 1000) {
        fprintf(stderr, "usage: glyphs OUTPUT.h5 [DRAWS [FOLDER...]]\n");
        return 2;
    }
    if (FT_Init_FreeType(&s.library)) return 1;
    if (argc <= 3) add_folder(&s, "/usr/share/fonts", 0);
    for (int i = 3; i < argc; i++) add_folder(&s, argv[i], 0);
    printf("number\tfamily\tstyle\tsplit\n");
    for (int f = 0; f < s.count; f++)
        printf("%d\t%s\t%s\t%s\n", f, s.families[f].name, s.families[f].style, is_test(f) ? "test" : "train");
    const int done = write_set(&s, argv[1], draws);
    if (!done)
        fprintf(stderr, "glyphs: cannot write '%s': %d families are too few, or no permission\n", argv[1], s.count);
    for (int f = 0; f < s.count; f++) {
        free(s.families[f].name);
        free(s.families[f].style);
        free(s.families[f].letters);
    }
    FT_Done_FreeType(s.library);
    return !done;
}
