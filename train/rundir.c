/* rundir.c: the run directory: made, held by one trainer at a time, and rid of what killed writers left in it. */
#include "train/trainer.h"
#include "core/checked.h"
#include "core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* "last.h5.tmp-4711-0": a temporary file (core/file.h) of a file that trainers write. */
static bool is_left_over(const char *name)
{
    static const char *const files[] = {
        "config.yaml", "metrics.jsonl", "log.csv", "next.h5", "last.h5", "best.h5", "examples.h5",
    };
    size_t length;
    int number = 0, used = 0;
    if (!clvi_file_is_temp(name, &length)) return false;
    for (size_t i = 0; i < CLVI_COUNT(files); i++)
        if (strlen(files[i]) == length && !memcmp(files[i], name, length)) return true;
    return sscanf(name, "checkpoint_%d.h5%n", &number, &used) == 1 && used && (size_t)used == length;
}

static void remove_left_overs(int directory)
{
    const int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir && fd >= 0) close(fd);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (is_left_over(e->d_name)) (void)unlinkat(directory, e->d_name, 0);
    if (dir) closedir(dir);
}

clv_status clvi_rundir_claim(clv_trainer *t)
{
    const char *path = t->settings->results_dir;
    if (t->directory >= 0) return CLV_OK;
    CLV_TRY(clvi_mkdirs(path));
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLV_CHECK(fd >= 0, CLV_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    /* File systems without locks are taken at the user's word. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(fd);
        return clvi_fail(CLV_ERR_IO, "'%s' is in use: another process trains in it", path);
    }
    t->directory = fd;
    remove_left_overs(fd);
    return CLV_OK;
}

void clvi_rundir_release(clv_trainer *t)
{
    if (t->directory >= 0) close(t->directory);
}

clv_status clvi_rundir_check_unused(const clv_trainer *t)
{
    static const char *const names[] = { "last.h5", "previous.h5" };
    for (size_t i = 0; i < CLVI_COUNT(names); i++) {
        char path[CLVI_PATH_SIZE + 16];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", t->settings->results_dir, names[i]);
        CLV_CHECK(stat(path, &st) != 0, CLV_ERR_INVALID,
                  "'%s' holds a run already: go on with it (resume: auto), remove it, or name another results-dir",
                  t->settings->results_dir);
    }
    return CLV_OK;
}
