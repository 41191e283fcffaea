/* test_pack.c: joining, resizing, skipping and refusing in clv_pack. */
#include "tests/support/pictures.h"
#include "core/file.h"
#include "core/h5.h"
#include "data/dataset.h"
#include "data/resize.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct pack_log {
    int  bad, calls, stop_after;
    char last_bad[512], last_note[512];
    int64_t done, total;
} pack_log;

static bool record(const clv_pack_progress *p, void *user)
{
    pack_log *l = user;
    l->calls++;
    l->done = p->done;
    l->total = p->total;
    if (p->bad_message) {
        l->bad++;
        snprintf(l->last_bad, sizeof l->last_bad, "%s", p->bad_message);
    }
    if (p->note) snprintf(l->last_note, sizeof l->last_note, "%s", p->note);
    return l->stop_after == 0 || l->calls < l->stop_after;
}

static clv_pack_desc desc_for(const char *const *sources, int64_t count, const char *output, clv_pack_format format)
{
    clv_pack_desc d = CLV_PACK_DESC_INIT;
    d.sources = sources;
    d.source_count = count;
    d.output = output;
    d.format = format;
    d.jobs = 2;
    return d;
}

static void raw_and_encoded_sources_are_joined_split_by_split(void **state)
{
    test_env *t = *state;
    const char *sources[2] = { test_path(t, "a.h5"), test_path(t, "folder") }, *out = test_path(t, "out.h5");
    clvi_h5 *h5 = NULL;
    clv_dataset *ds = NULL;
    clv_decoder *decoder = NULL;
    clv_dataset_info info;
    clv_image image;
    pack_log l = { 0 };
    /* The first has train and test, the second nothing but pictures. */
    uint8_t pixels[5 * 12 * 10 * 3];
    for (int i = 0; i < 5; i++) picture_fill(pixels + i * 360, i, 12, 10, 3);
    const clv_view train = clv_view_dense(pixels, CLV_U8, 4, (int64_t[]){ 5, 12, 10, 3 });
    const clv_view test = clv_view_dense(pixels, CLV_U8, 4, (int64_t[]){ 2, 12, 10, 3 });
    const clv_view labels = clv_view_1d((int64_t[]){ 1, 0, 1, 0, 1 }, CLV_I64, 5);
    assert_ok(clvi_h5_create(t->ctx, sources[0], false, &h5));
    assert_ok(clvi_h5_write(h5, "train/images", &train));
    assert_ok(clvi_h5_write(h5, "train/labels", &labels));
    assert_ok(clvi_h5_write(h5, "test/images", &test));
    assert_ok(clvi_h5_commit(h5));
    assert_ok(clvi_mkdirs(test_path(t, "folder/x")));
    assert_ok(clvi_mkdirs(test_path(t, "folder/y")));
    picture_write_png(test_path(t, "folder/x/a.png"), 5, 12, 10);
    picture_write_png(test_path(t, "folder/y/a.png"), 6, 12, 10);

    const clv_pack_desc d = desc_for(sources, 2, out, CLV_PACK_RAW);
    assert_ok(clv_pack(t->ctx, &d, record, &l));
    assert_int_equal(l.done, 9);
    assert_int_equal(l.total, 9);
    assert_ok(clv_dataset_open(t->ctx, out, NULL, &ds));
    clv_dataset_describe(ds, &info);
    assert_int_equal(info.count, 7);
    assert_true(info.raw && info.has_stats);
    assert_string_equal(clv_dataset_class_name(ds, 1), "y");
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    double sum[3] = { 0 };
    for (int64_t i = 0; i < 7; i++) {
        uint8_t expected[360];
        picture_fill(expected, i, 12, 10, 3);
        assert_ok(clv_dataset_image(ds, i, decoder, &image));
        assert_memory_equal(image.pixels, expected, sizeof expected);
        assert_int_equal(clv_dataset_label(ds, i), i < 5 ? (i + 1) % 2 : i - 5);
        for (int k = 0; k < 360; k++) sum[k % 3] += expected[k];
    }
    for (int c = 0; c < 3; c++) assert_near(info.mean[c], sum[c] / (7 * 120) / 255, 1e-12);
    clv_decoder_destroy(decoder);
    clv_dataset_destroy(ds);
    assert_ok(clv_dataset_open(t->ctx, out, "test", &ds));
    clv_dataset_describe(ds, &info);
    assert_int_equal(info.count, 2);
    assert_false(info.has_labels);
    clv_dataset_destroy(ds);
}

/* Of a class that only one of them has, the split is told, because the folder is one. */
static void splits_with_other_classes_are_told(void **state)
{
    test_env *t = *state;
    static const char *const folders[] = { "splits/train/x", "splits/train/y", "splits/val/x", "splits/val/z" };
    for (int i = 0; i < 4; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s/a.png", folders[i]);
        assert_ok(clvi_mkdirs(test_path(t, folders[i])));
        picture_write_png(test_path(t, name), i, 12, 10);
        if (i < 2) continue;
        const char *source = test_path(t, "splits");
        const clv_pack_desc d = desc_for(&source, 1, test_path(t, "out.h5"), CLV_PACK_RAW);
        assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_SHAPE,
                     i == 2 ? "splits' (train) has 2 class names, '" : "class 1 is called 'y' in '");
        assert_non_null(strstr(clv_error_message(), i == 2 ? "splits' (val) has 1" : "splits' (train), but 'z' in '"));
    }
}

/* Four pictures, of which b.jpg is cut short. */
static const char *write_folder(test_env *t, bool damaged)
{
    uint8_t jpeg[20000];
    assert_ok(clvi_mkdirs(test_path(t, "pictures")));
    picture_write_jpeg(test_path(t, "pictures/a.jpg"), 0, 40, 20);
    picture_write_png(test_path(t, "pictures/c.png"), 1, 24, 48);
    picture_write_jpeg(test_path(t, "pictures/d.jpg"), 2, 16, 16);
    const size_t size = picture_jpeg(3, 30, 30, jpeg, sizeof jpeg);
    assert_ok(clvi_file_write(test_path(t, "pictures/b.jpg"), jpeg, damaged ? size - 60 : size));
    return test_path(t, "pictures");
}

static int count_files(const char *folder)
{
    int n = 0;
    DIR *dir = opendir(folder);
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void a_bad_picture_fails_the_pack_by_name_and_leaves_nothing(void **state)
{
    test_env *t = *state;
    const char *source = write_folder(t, true), *out = test_path(t, "out.h5");
    pack_log l = { 0 };
    clv_pack_desc d = desc_for(&source, 1, out, CLV_PACK_ORIGINAL);
    assert_fails(clv_pack(t->ctx, &d, record, &l), CLV_ERR_FORMAT, "1 of 4 images cannot be decoded, the first is '");
    assert_non_null(strstr(clv_error_message(), "pictures/b.jpg"));
    assert_int_equal(l.bad, 1);
    assert_non_null(strstr(l.last_bad, "pictures/b.jpg: JPEG: Premature end"));
    assert_int_equal(count_files(t->folder), 1);
}

static void skipping_must_be_asked_for_and_is_written_down(void **state)
{
    test_env *t = *state;
    const char *source = write_folder(t, true), *out = test_path(t, "out.h5");
    clv_dataset *ds = NULL;
    clv_dataset_info info;
    clvi_h5 *h5 = NULL;
    int64_t count = 0;
    char **names = NULL;
    clv_pack_desc d = desc_for(&source, 1, out, CLV_PACK_ORIGINAL);
    d.skip_bad = true;
    assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
    assert_ok(clv_dataset_open(t->ctx, out, NULL, &ds));
    clv_dataset_describe(ds, &info);
    assert_int_equal(info.count, 3);
    assert_true(info.has_stats);
    clv_dataset_destroy(ds);
    assert_ok(clvi_h5_open(t->ctx, out, &h5));
    assert_ok(clvi_h5_attr_texts(h5, "/", "skipped", &count, &names));
    assert_int_equal(count, 1);
    assert_non_null(strstr(names[0], "pictures/b.jpg"));
    clvi_free(t->ctx, names);
    clvi_h5_close(h5);
}

static void raw_output_is_square_and_jpeg_output_has_a_shorter_side(void **state)
{
    test_env *t = *state;
    const char *source = write_folder(t, false), *out = test_path(t, "out.h5");
    clv_dataset *ds = NULL;
    clv_dataset_info info;
    clv_decoder *decoder = NULL;
    clv_image image;
    clv_pack_desc d = desc_for(&source, 1, out, CLV_PACK_RAW);
    assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_SHAPE, "give a size");
    d.size = 18;
    assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
    assert_ok(clv_dataset_open(t->ctx, out, NULL, &ds));
    clv_dataset_describe(ds, &info);
    assert_int_equal(info.height, 18);
    assert_int_equal(info.width, 18);
    clv_dataset_destroy(ds);

    d = desc_for(&source, 1, out, CLV_PACK_JPEG);
    d.size = 18;
    assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
    assert_ok(clv_dataset_open(t->ctx, out, NULL, &ds));
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    assert_ok(clv_dataset_image(ds, 0, decoder, &image));   /* a.jpg, 20 wide and 40 high */
    assert_int_equal(image.width, 18);
    assert_int_equal(image.height, 36);
    assert_ok(clv_dataset_image(ds, 3, decoder, &image));   /* d.jpg is smaller already */
    assert_int_equal(image.height, 16);
    clv_decoder_destroy(decoder);
    clv_dataset_destroy(ds);
}

/* Flips a bit of the last of the `count` bytes in a file that are `bytes`. */
static void damage_after(test_env *t, const char *path, const uint8_t *bytes, size_t count)
{
    uint8_t *file = NULL;
    size_t size = 0;
    assert_ok(clvi_file_read(t->ctx, path, 1 << 24, &file, &size));
    uint8_t *at = memmem(file, size, bytes, count);
    assert_non_null(at);
    at[count - 1] ^= 4;
    assert_ok(clvi_file_write(path, file, size));
    clvi_free(t->ctx, file);
}

static void verifying_finds_the_image_whose_bytes_changed(void **state)
{
    test_env *t = *state;
    static const clv_pack_format formats[] = { CLV_PACK_RAW, CLV_PACK_JPEG, CLV_PACK_ORIGINAL };
    const char *source = write_folder(t, false), *out = test_path(t, "out.h5");
    for (int k = 0; k < 3; k++) {
        clv_dataset *ds = NULL;
        clv_pack_desc d = desc_for(&source, 1, out, formats[k]);
        if (formats[k] != CLV_PACK_ORIGINAL) d.size = 18;
        pack_log l = { 0 };
        assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
        assert_ok(clv_dataset_open(t->ctx, out, NULL, &ds));
        assert_ok(clv_dataset_verify(t->ctx, ds, record, &l));
        assert_int_equal(l.done, 4);
        const size_t size = ds->offsets ? (size_t)(ds->offsets[3] - ds->offsets[2]) : 18 * 18 * 3;
        uint8_t *third = malloc(size);
        memcpy(third, ds->offsets ? ds->bytes + ds->offsets[2] : ds->pixels + 2 * size, size);
        clv_dataset_destroy(ds);
        damage_after(t, out, third, size);
        free(third);
        assert_ok(clv_dataset_open(t->ctx, out, NULL, &ds));
        assert_fails(clv_dataset_verify(t->ctx, ds, NULL, NULL), CLV_ERR_FORMAT,
                     "1 of 4 images are not as they were packed, the first is '");
        assert_non_null(strstr(clv_error_message(), "[2]"));
        l = (pack_log){ .stop_after = 1 };
        assert_int_equal(clv_dataset_verify(t->ctx, ds, record, &l), CLV_STOPPED);
        clv_dataset_destroy(ds);
    }
    clv_dataset *plain = NULL;
    assert_ok(clv_dataset_open(t->ctx, source, NULL, &plain));
    assert_fails(clv_dataset_verify(t->ctx, plain, NULL, NULL), CLV_ERR_UNSUPPORTED, "has no checksums of its images");
    clv_dataset_destroy(plain);
}

static void resizing_keeps_a_constant_and_averages_when_halving(void **state)
{
    test_env *t = *state;
    clvi_resizer r = { 0 };
    clv_image out;
    uint8_t flat[9 * 7 * 3], ramp[8];
    memset(flat, 77, sizeof flat);
    const clv_image even = { flat, 9, 7, 3, 21 };
    assert_ok(clvi_resize(t->ctx, &r, &even, 4, 15, &out));
    for (int i = 0; i < 4 * 15 * 3; i++) assert_int_equal(out.pixels[i], 77);
    for (int i = 0; i < 8; i++) ramp[i] = (uint8_t)(10 * i);
    const clv_image line = { ramp, 1, 8, 1, 8 };
    assert_ok(clvi_resize(t->ctx, &r, &line, 1, 4, &out));
    /* Triangle of half width 2 around 1, 3, 5, 7: inside, weights 1/8, 3/8, 3/8, 1/8; at the border 3/7, 3/7, 1/7. */
    assert_near(out.pixels[0], (3 * 0 + 3 * 10 + 20) / 7.0, 0.51);
    assert_near(out.pixels[1], 25, 0.51);
    assert_near(out.pixels[2], 45, 0.51);
    assert_near(out.pixels[3], (50 + 3 * 60 + 3 * 70) / 7.0, 0.51);
    clvi_resizer_free(t->ctx, &r);
}

static void jobs_do_not_change_the_file(void **state)
{
    test_env *t = *state;
    const char *source = write_folder(t, false), *out[2] = { test_path(t, "1.h5"), test_path(t, "2.h5") };
    uint8_t *bytes[2] = { NULL };
    size_t size[2] = { 0 };
    for (int i = 0; i < 2; i++) {
        clv_pack_desc d = desc_for(&source, 1, out[i], CLV_PACK_RAW);
        d.size = 20;
        d.jobs = 1 + 3 * i;
        assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
        assert_ok(clvi_file_read(t->ctx, out[i], 1 << 24, &bytes[i], &size[i]));
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    for (int i = 0; i < 2; i++) clvi_free(t->ctx, bytes[i]);
}

/* 200 raw pictures in train and 130 in test, so that there are batches to stop between. */
static const char *write_many(test_env *t)
{
    const char *path = test_path(t, "many.h5");
    clvi_h5 *h5 = NULL;
    static uint8_t pixels[200 * 48];
    static int64_t labels[200];
    for (int i = 0; i < 200; i++) {
        picture_fill(pixels + i * 48, i, 4, 4, 3);
        labels[i] = i % 7;
    }
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    for (int k = 0; k < 2; k++) {
        const int64_t n = k ? 130 : 200;
        const clv_view images = clv_view_dense(pixels + 48 * k, CLV_U8, 4, (int64_t[]){ n, 4, 4, 3 });
        const clv_view ids = clv_view_1d(labels + k, CLV_I64, n);
        assert_ok(clvi_h5_write(h5, k ? "test/images" : "train/images", &images));
        assert_ok(clvi_h5_write(h5, k ? "test/labels" : "train/labels", &ids));
    }
    assert_ok(clvi_h5_commit(h5));
    return path;
}

static void assert_same_file(test_env *t, const char *a, const char *b)
{
    uint8_t *bytes[2] = { NULL };
    size_t size[2] = { 0 };
    assert_ok(clvi_file_read(t->ctx, a, 1 << 24, &bytes[0], &size[0]));
    assert_ok(clvi_file_read(t->ctx, b, 1 << 24, &bytes[1], &size[1]));
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    clvi_free(t->ctx, bytes[0]);
    clvi_free(t->ctx, bytes[1]);
}

static void a_stopped_pack_goes_on_to_the_same_bytes(void **state)
{
    test_env *t = *state;
    const char *source = write_many(t), *calm = test_path(t, "calm.h5"), *out = test_path(t, "out.h5");
    clv_pack_desc d = desc_for(&source, 1, calm, CLV_PACK_RAW);
    assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
    d.output = out;
    assert_ok(clvi_file_write(test_path(t, "out.h5.tmp-4711-0"), "", 0));      /* of one that was killed while it ended */
    /* Three batches of test, then four of train. */
    for (int runs = 0; ; runs++) {
        pack_log l = { .stop_after = 3 + 2 * runs };   /* what is taken over is told batch by batch, too */
        const clv_status st = clv_pack(t->ctx, &d, record, &l);
        if (runs == 1) assert_non_null(strstr(l.last_note, "going on after 130 of 330 images of an interrupted pack"));
        if (st == CLV_OK) break;
        assert_int_equal(st, CLV_STOPPED);
        assert_int_equal(count_files(t->folder), 4);   /* many, calm, out.h5.part, out.h5.journal */
        assert_true(runs < 20);
    }
    assert_same_file(t, calm, out);
    assert_int_equal(count_files(t->folder), 3);
}

/* Leaves a pack that was stopped after three batches of 64. */
static void leave_partial(test_env *t, clv_pack_desc *d)
{
    pack_log l = { .stop_after = 3 };
    d->restart = true;
    assert_int_equal(clv_pack(t->ctx, d, record, &l), CLV_STOPPED);
    d->restart = false;
}

static void flip_byte(test_env *t, const char *path, size_t at)
{
    uint8_t *file = NULL;
    size_t size = 0;
    assert_ok(clvi_file_read(t->ctx, path, 1 << 24, &file, &size));
    file[at < size ? at : size - 1] ^= 1;
    assert_ok(clvi_file_write(path, file, size));
    clvi_free(t->ctx, file);
}

static void what_is_damaged_of_an_interrupted_pack_is_made_again(void **state)
{
    test_env *t = *state;
    const char *source = write_many(t), *calm = test_path(t, "calm.h5"), *out = test_path(t, "out.h5");
    const char *part = test_path(t, "out.h5.part"), *journal = test_path(t, "out.h5.journal");
    clv_pack_desc d = desc_for(&source, 1, calm, CLV_PACK_RAW);
    assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
    d.output = out;
    struct { const char *file; size_t at; const char *says; } damage[] = {
        { part, CLVI_H5_HEAD + 70 * 48, "after 64 of 330 images of an interrupted pack; what follows them is damaged" },
        { journal, SIZE_MAX, "after 128 of 330 images of an interrupted pack" },   /* the last record's seal */
    };
    for (int i = 0; i < 2; i++) {
        pack_log l = { 0 };
        leave_partial(t, &d);
        flip_byte(t, damage[i].file, damage[i].at);
        assert_ok(clv_pack(t->ctx, &d, record, &l));
        assert_non_null(strstr(l.last_note, damage[i].says));
        assert_same_file(t, calm, out);
    }
    /* A journal that is cut in the middle of a record, and bytes that never reached the disk. */
    pack_log l = { 0 };
    leave_partial(t, &d);
    assert_int_equal(truncate(part, CLVI_H5_HEAD + 100 * 48), 0);
    assert_ok(clv_pack(t->ctx, &d, record, &l));
    assert_non_null(strstr(l.last_note, "going on after 64 of 330"));
    assert_same_file(t, calm, out);
}

static void what_cannot_be_gone_on_with_is_refused_by_name(void **state)
{
    test_env *t = *state;
    const char *source = write_many(t), *out = test_path(t, "out.h5");
    clv_pack_desc d = desc_for(&source, 1, out, CLV_PACK_RAW), other = d;
    leave_partial(t, &d);
    other.size = 3;
    assert_fails(clv_pack(t->ctx, &other, NULL, NULL), CLV_ERR_INVALID,
                 "is of an interrupted pack with 'size 0', this one has 'size 3'");
    flip_byte(t, test_path(t, "out.h5.journal"), 20);
    assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_FORMAT, "out.h5.journal' is damaged: give restart");
    leave_partial(t, &d);
    assert_int_equal(unlink(test_path(t, "out.h5.part")), 0);
    assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_FORMAT, "out.h5.part' is gone");
    /* Another source under the same name. */
    leave_partial(t, &d);
    picture_write_h5(t, source, "train", 330, 4, 4, 3, true);
    assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_INVALID, "is of an interrupted pack with 'source");
    d.restart = true;
    assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
    assert_int_equal(count_files(t->folder), 2);
}

static void assert_same_images(test_env *t, const char *path, const char *expected, const char *split)
{
    clv_dataset *ds[2] = { NULL };
    clv_decoder *decoder[2] = { NULL };
    clv_dataset_info info[2];
    const char *paths[2] = { path, expected };
    for (int k = 0; k < 2; k++) {
        assert_ok(clv_dataset_open(t->ctx, paths[k], split, &ds[k]));
        assert_ok(clv_decoder_create(t->ctx, NULL, &decoder[k]));
        clv_dataset_describe(ds[k], &info[k]);
    }
    assert_int_equal(info[0].count, info[1].count);
    assert_int_equal(info[0].classes, info[1].classes);
    assert_int_equal(info[0].raw, info[1].raw);
    assert_int_equal(info[0].has_labels, info[1].has_labels);
    assert_string_equal(info[0].split, info[1].split);
    for (int64_t i = 0; i < info[0].count; i++) {
        clv_image image[2];
        for (int k = 0; k < 2; k++) assert_ok(clv_dataset_image(ds[k], i, decoder[k], &image[k]));
        assert_int_equal(image[0].height, image[1].height);
        assert_int_equal(image[0].width, image[1].width);
        assert_memory_equal(image[0].pixels, image[1].pixels, (size_t)(image[0].height * image[0].row_stride));
        assert_int_equal(clv_dataset_label(ds[0], i), clv_dataset_label(ds[1], i));
    }
    assert_int_equal(clv_dataset_label(ds[0], info[0].count), -1);
    assert_ok(clv_dataset_verify(t->ctx, ds[0], NULL, NULL));
    for (int k = 0; k < 2; k++) {
        clv_decoder_destroy(decoder[k]);
        clv_dataset_destroy(ds[k]);
    }
}

static void assert_same_stats(test_env *t, const char *path, const char *expected)
{
    const char *paths[2] = { path, expected };
    clv_dataset_info info[2];
    for (int k = 0; k < 2; k++) {
        clv_dataset *ds = NULL;
        assert_ok(clv_dataset_open(t->ctx, paths[k], NULL, &ds));
        clv_dataset_describe(ds, &info[k]);
        assert_true(info[k].has_stats);
        clv_dataset_destroy(ds);
    }
    assert_memory_equal(info[0].mean, info[1].mean, sizeof info[0].mean);
    assert_memory_equal(info[0].std, info[1].std, sizeof info[0].std);
}

static void shards_are_one_data_set_with_the_same_numbers(void **state)
{
    test_env *t = *state;
    const char *source = write_many(t), *whole = test_path(t, "whole.h5"), *out = test_path(t, "set.h5");
    clv_dataset *ds = NULL;
    clv_dataset_splits splits;
    char where[CLVI_DATA_MAX_LOCATION];
    clv_pack_desc d = desc_for(&source, 1, whole, CLV_PACK_JPEG);
    assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
    d.output = out;
    d.shards = 3;
    assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
    assert_int_equal(count_files(t->folder), 2 + 4);
    assert_same_images(t, out, whole, "train");
    assert_same_images(t, out, whole, "test");
    assert_same_stats(t, out, whole);
    assert_ok(clv_dataset_list_splits(t->ctx, out, &splits));
    assert_int_equal(splits.count, 2);
    assert_ok(clv_dataset_open(t->ctx, out, NULL, &ds));
    clv_dataset_locate(ds, 66, where, sizeof where);          /* 200 in three: 66, 67, 67 */
    assert_non_null(strstr(where, "set-00001-of-00003.h5/train [0]"));
    clv_dataset_destroy(ds);
    /* Packed again into one, they are what they were. */
    d = desc_for(&out, 1, test_path(t, "again.h5"), CLV_PACK_ORIGINAL);
    assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
    assert_same_images(t, d.output, whole, "train");
    /* One shard alone is a data set, too. */
    assert_ok(clv_dataset_open(t->ctx, test_path(t, "set-00002-of-00003.h5"), "test", &ds));
    assert_int_equal(ds->info.count, 44);
    clv_dataset_destroy(ds);
}

static void a_stopped_pack_of_shards_goes_on_to_the_same_bytes(void **state)
{
    test_env *t = *state;
    const char *source = write_many(t), *calm = test_path(t, "calm.h5"), *out = test_path(t, "out.h5");
    clv_pack_desc d = desc_for(&source, 1, calm, CLV_PACK_RAW);
    d.shards = 2;
    assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
    d.output = out;
    for (int runs = 0; ; runs++) {
        pack_log l = { .stop_after = 2 + 2 * runs };
        const clv_status st = clv_pack(t->ctx, &d, record, &l);
        if (st == CLV_OK) break;
        assert_int_equal(st, CLV_STOPPED);
        assert_true(runs < 20);
    }
    assert_same_images(t, out, calm, "train");
    assert_same_stats(t, out, calm);
    assert_same_file(t, test_path(t, "out-00000-of-00002.h5"), test_path(t, "calm-00000-of-00002.h5"));
    assert_same_file(t, test_path(t, "out-00001-of-00002.h5"), test_path(t, "calm-00001-of-00002.h5"));
    assert_int_equal(count_files(t->folder), 1 + 3 + 3);
    /* A shard that is in place already, but not as it was written, is not believed. */
    leave_partial(t, &d);
    pack_log l = { .stop_after = 6 };
    assert_int_equal(clv_pack(t->ctx, &d, record, &l), CLV_STOPPED);
    flip_byte(t, test_path(t, "out-00000-of-00002.h5"), CLVI_H5_HEAD + 70 * 48);
    assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_FORMAT, "is not what an interrupted pack wrote");
}

static void bad_pictures_are_told_again_when_a_pack_goes_on(void **state)
{
    test_env *t = *state;
    const char *source = write_folder(t, true), *out = test_path(t, "out.h5");
    clv_pack_desc d = desc_for(&source, 1, out, CLV_PACK_ORIGINAL);
    d.skip_bad = true;
    pack_log l = { .stop_after = 2 };   /* the bad one, then the batch's end */
    assert_int_equal(clv_pack(t->ctx, &d, record, &l), CLV_STOPPED);
    l = (pack_log){ 0 };
    assert_ok(clv_pack(t->ctx, &d, record, &l));
    assert_int_equal(l.bad, 1);
    assert_int_equal(l.done, 4);
    assert_non_null(strstr(l.last_bad, "image 1 of '"));
}

/* Writes a file that names shards. */
static void write_set(test_env *t, const char *path, const char *a, const char *b)
{
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_set_attr_texts(h5, "/", "shards", b ? 2 : 1, (const char *const[]){ a, b }));
    assert_ok(clvi_h5_commit(h5));
}

static void sets_of_shards_that_make_no_sense_are_refused(void **state)
{
    test_env *t = *state;
    const char *set = test_path(t, "set.h5");
    clv_dataset *ds = NULL;
    clv_dataset_splits splits;
    picture_write_h5(t, test_path(t, "a.h5"), "train", 4, 4, 4, 3, true);
    picture_write_h5(t, test_path(t, "b.h5"), "train", 4, 5, 4, 3, true);
    picture_write_h5(t, test_path(t, "c.h5"), "test", 4, 4, 4, 3, true);
    write_set(t, set, "a.h5", "a.h5");
    assert_ok(clv_dataset_open(t->ctx, set, NULL, &ds));
    assert_int_equal(ds->info.count, 8);
    clv_dataset_destroy(ds);
    write_set(t, set, "a.h5", "b.h5");
    assert_fails(clv_dataset_open(t->ctx, set, NULL, &ds), CLV_ERR_FORMAT, "hold different kinds of images");
    write_set(t, set, "a.h5", "c.h5");
    assert_fails(clv_dataset_open(t->ctx, set, "train", &ds), CLV_ERR_INVALID, "has no split 'train'");
    write_set(t, set, "a.h5", "gone.h5");
    assert_fails(clv_dataset_open(t->ctx, set, NULL, &ds), CLV_ERR_IO, "gone.h5");
    write_set(t, set, "set.h5", NULL);
    assert_fails(clv_dataset_open(t->ctx, set, NULL, &ds), CLV_ERR_FORMAT, "names shards itself");
    const char *const outside[] = { "../a.h5", "/etc/a.h5", "", "." };
    for (int i = 0; i < 4; i++) {
        write_set(t, set, outside[i], NULL);
        assert_fails(clv_dataset_open(t->ctx, set, NULL, &ds), CLV_ERR_FORMAT, "is not the name of a file beside it");
        assert_fails(clv_dataset_list_splits(t->ctx, set, &splits), CLV_ERR_FORMAT, "is not the name of a file beside");
    }
    const char *source = test_path(t, "a.h5");
    clv_pack_desc d = desc_for(&source, 1, test_path(t, "out.h5"), CLV_PACK_RAW);
    d.shards = 5;
    assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_INVALID, "'train' has 4 images, too few for 5 shards");
    d.shards = 0;
    assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_INVALID, "shards is 0");
}

static void the_index_of_an_image_takes_at_most_32_bytes(void **state)
{
    test_env *t = *state;
    const char *source = test_path(t, "a.h5"), *out = test_path(t, "out.h5");
    const int64_t n = 20000;
    clv_dataset *ds = NULL;
    picture_write_h5(t, source, "train", n, 2, 2, 3, true);
    clv_pack_desc d = desc_for(&source, 1, out, CLV_PACK_JPEG);
    assert_ok(clv_pack(t->ctx, &d, NULL, NULL));
    assert_ok(clv_dataset_open(t->ctx, out, NULL, &ds));
    assert_true(ds->offsets && ds->labels && ds->checksums);
    assert_true((int64_t)ds->map[0].size <= 32 * n);          /* all that is held in memory; map[1] is the file */
    assert_true(ds->bytes > ds->map[1].data && ds->bytes < ds->map[1].data + ds->map[1].size);
    clv_dataset_destroy(ds);
}

static void sources_that_do_not_fit_are_refused(void **state)
{
    test_env *t = *state;
    const char *sources[2] = { test_path(t, "a.h5"), test_path(t, "b.h5") }, *out = test_path(t, "out.h5");
    picture_write_h5(t, sources[0], "train", 4, 4, 4, 3, true);
    picture_write_h5(t, sources[1], "train", 4, 4, 4, 1, true);
    clv_pack_desc d = desc_for(sources, 2, out, CLV_PACK_RAW);
    assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_SHAPE, "b.h5' has 1");
    picture_write_h5(t, sources[1], "train", 4, 5, 4, 3, true);
    assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_SHAPE,
                 "b.h5/train [0]' has 4x5 pixels, images before it 4x4");
    d.format = CLV_PACK_ORIGINAL;
    assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_INVALID, "holds pixels, not encoded files");
    d = desc_for(sources, 2, out, CLV_PACK_RAW);
    d.jobs = 0;
    assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_INVALID, "jobs is 0");
    d = desc_for(sources, 0, out, CLV_PACK_RAW);
    assert_fails(clv_pack(t->ctx, &d, NULL, NULL), CLV_ERR_INVALID, "at least one source");
}

static clv_status pack_small(clv_context *ctx, void *desc)
{
    return clv_pack(ctx, desc, NULL, NULL);
}

static void running_out_of_memory_is_an_error_not_a_leak(void **state)
{
    test_env *t = *state;
    const char *source = write_folder(t, true), *out = test_path(t, "out.h5");
    clv_pack_desc d = desc_for(&source, 1, out, CLV_PACK_RAW);
    d.size = 12;
    d.jobs = 1;
    d.skip_bad = true;
    d.restart = true;   /* or one attempt would go on where the last one failed */
    test_each_allocation_fails(t, pack_small, &d);
}

TEST_MAIN(
    TEST(raw_and_encoded_sources_are_joined_split_by_split),
    TEST(splits_with_other_classes_are_told),
    TEST(a_bad_picture_fails_the_pack_by_name_and_leaves_nothing),
    TEST(skipping_must_be_asked_for_and_is_written_down),
    TEST(raw_output_is_square_and_jpeg_output_has_a_shorter_side),
    TEST(verifying_finds_the_image_whose_bytes_changed),
    TEST(resizing_keeps_a_constant_and_averages_when_halving),
    TEST(jobs_do_not_change_the_file),
    TEST(a_stopped_pack_goes_on_to_the_same_bytes),
    TEST(what_is_damaged_of_an_interrupted_pack_is_made_again),
    TEST(what_cannot_be_gone_on_with_is_refused_by_name),
    TEST(shards_are_one_data_set_with_the_same_numbers),
    TEST(a_stopped_pack_of_shards_goes_on_to_the_same_bytes),
    TEST(bad_pictures_are_told_again_when_a_pack_goes_on),
    TEST(sets_of_shards_that_make_no_sense_are_refused),
    TEST(the_index_of_an_image_takes_at_most_32_bytes),
    TEST(sources_that_do_not_fit_are_refused),
    TEST(running_out_of_memory_is_an_error_not_a_leak),
)
