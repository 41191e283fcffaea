/* kept.c: files of the user's cache folder. A file is a line with the version and a checksum, the key, and the data: the
 * key is compared, names are only its hash. */
#include "device/cuda/kept.h"
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION 1
enum { MOST_KEY = 1024, HEADER = 64 };

/* FNV-1a. */
static uint64_t hash(uint64_t h, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)data[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t checksum(const char *key, const char *data, size_t size)
{
    return hash(hash(UINT64_C(0xcbf29ce484222325), key, strlen(key)), data, size);
}

/* ---- places ---- */

static bool folder_of(char path[PATH_MAX])
{
    const char *told = getenv("CLEAVE_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (told) n = snprintf(path, PATH_MAX, "%s", told);
    else if (xdg && xdg[0]) n = snprintf(path, PATH_MAX, "%s/cleave", xdg);
    else if (home && home[0]) n = snprintf(path, PATH_MAX, "%s/.cache/cleave", home);
    return n > 0 && n < PATH_MAX - 64;
}

static bool file_of(const char *key, char path[PATH_MAX])
{
    if (!folder_of(path) || strlen(key) >= MOST_KEY) return false;
    snprintf(path + strlen(path), 64, "/plan-%016" PRIx64, checksum(key, "", 0));
    return true;
}

/* The folder of a file with those above it, closed to others. */
static void make_folders(char *file)
{
    for (char *slash = strchr(file + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(file, 0700);
        *slash = '/';
    }
}

/* ---- reading ---- */

/* A plan can hold code: only the user's own file, that nobody else may write, is read. */
static size_t read_own(const char *path, char *text, size_t most)
{
    struct stat st;
    size_t size = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) &&
        st.st_size > 0 && (size_t)st.st_size < most) {
        const ssize_t got = read(fd, text, (size_t)st.st_size);
        size = got == st.st_size ? (size_t)got : 0;
    }
    close(fd);
    text[size] = '\0';
    return size;
}

size_t clvi_kept_read(const char *key, char data[CLVI_KEPT_MOST])
{
    char path[PATH_MAX], text[HEADER + MOST_KEY + CLVI_KEPT_MOST], header[HEADER];
    if (!file_of(key, path)) return 0;
    const size_t size = read_own(path, text, sizeof text), length = strlen(key);
    const char *end = memchr(text, '\n', size < HEADER ? size : HEADER);
    if (!end) return 0;
    const char *kept = end + 1;
    const size_t rest = size - (size_t)(kept - text);
    if (rest <= length + 1 || memcmp(kept, key, length) != 0 || kept[length] != '\n') return 0;
    const size_t count = rest - length - 1;
    if (count > CLVI_KEPT_MOST) return 0;
    const int n = snprintf(header, sizeof header, "cleave plan %d %016" PRIx64, VERSION,
                           checksum(key, kept + length + 1, count));
    if (n != end - text || memcmp(header, text, (size_t)n) != 0) return 0;
    memcpy(data, kept + length + 1, count);
    return count;
}

/* ---- writing ---- */

/* A file that appears whole or not at all. */
void clvi_kept_write(const char *key, const char *data, size_t size)
{
    char path[PATH_MAX], temp[PATH_MAX + 32];
    if (size == 0 || size > CLVI_KEPT_MOST || !file_of(key, path)) return;
    make_folders(path);
    snprintf(temp, sizeof temp, "%s.XXXXXX", path);
    const int fd = mkstemp(temp);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!file) {
        if (fd >= 0) close(fd), unlink(temp);
        return;
    }
    fprintf(file, "cleave plan %d %016" PRIx64 "\n%s\n", VERSION, checksum(key, data, size), key);
    const bool written = fwrite(data, 1, size, file) == size;
    if (fclose(file) != 0 || !written || rename(temp, path) != 0) unlink(temp);
}
