/* tsan_openmp.c: tells the thread sanitizer what OpenMP promises. Part of the library in the tsan build only.
 * Debian's libgomp is not instrumented, so the sanitizer sees neither the start nor the end of a parallel region and
 * takes all its memory for shared without order. Every region starts through GOMP_parallel; the linker sends those
 * calls here (--wrap), and two edges are drawn: caller before threads, threads before caller. Accesses inside of one
 * region stay unordered, so real races there are still found. */
#include <sanitizer/tsan_interface.h>

typedef struct region {
    void (*body)(void *data);
    void *data;
    char begin, end;
} region;

void __real_GOMP_parallel(void (*body)(void *data), void *data, unsigned threads, unsigned flags);
void __wrap_GOMP_parallel(void (*body)(void *data), void *data, unsigned threads, unsigned flags);

__attribute__((no_sanitize_thread)) static void run(void *arg)
{
    region *r = arg;
    __tsan_acquire(&r->begin);
    r->body(r->data);
    __tsan_release(&r->end);
}

__attribute__((no_sanitize_thread)) void __wrap_GOMP_parallel(void (*body)(void *data), void *data, unsigned threads,
                                                              unsigned flags)
{
    region r = {.body = body, .data = data};
    __tsan_release(&r.begin);
    __real_GOMP_parallel(run, &r, threads, flags);
    __tsan_acquire(&r.end);
}
