/* serve.h: what benches that are timed share: a clock, taking turns with another program, and a line of results. */
#ifndef CLEAVE_BENCH_SERVE_H
#define CLEAVE_BENCH_SERVE_H

#include "clock.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* Does the work once; false: it failed. */
typedef bool (*bench_work)(void *arg);

static inline bool bench_once(bench_work work, void *arg, double *seconds)
{
    const double start = bench_now();
    const bool ok = work(arg);
    *seconds = bench_now() - start;
    return ok;
}

/* Works `times` times for each line read and answers with the mean seconds (bench/turns.sh). */
static inline bool bench_serve(bench_work work, void *arg, int times)
{
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        double seconds, total = 0;
        for (int i = 0; i < times; i++) {
            if (!bench_once(work, arg, &seconds)) return false;
            total += seconds;
        }
        (void)printf("%.6f\n", total / times);
        (void)fflush(stdout);
    }
    return true;
}

/* Works `runs` times after two warm-ups and prints "median_s=,min_s=,max_s=". */
static inline bool bench_measure(bench_work work, void *arg, int runs)
{
    double seconds[64];
    if (runs > 64) runs = 64;
    for (int i = 0; i < 2 + runs; i++)
        if (!bench_once(work, arg, &seconds[i < 2 ? 0 : i - 2])) return false;
    qsort(seconds, (size_t)runs, sizeof seconds[0], bench_by_value);
    (void)printf("median_s=%.5f,min_s=%.5f,max_s=%.5f\n", seconds[runs / 2], seconds[0], seconds[runs - 1]);
    return true;
}

#endif
