/* isa.c: one process for each instruction set. */
#include "tests/support/isa.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Starts this program again: OpenMP, too, reads its settings only once. */
static int run_with(const char *isa)
{
    const pid_t child = fork();
    if (child == 0) {
        setenv("CLEAVE_CPU_ISA", isa, 1);
        setenv("OMP_WAIT_POLICY", "passive", 0);   /* more threads than cores must not spin */
        fprintf(stderr, "instruction set: %s\n", isa);
        execl("/proc/self/exe", "test", (char *)NULL);
        _exit(127);
    }
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child ? status : 1;
}

static int run_with_all(const char *const *isas, int count, int (*run_all)(void))
{
    int failed = 0;
    if (getenv("CLEAVE_CPU_ISA")) return run_all() != 0;
    for (int i = 0; i < count; i++)
        if (run_with(isas[i]) != 0) failed = 1;
    return failed;
}

static const char *const isas[] = { "plain", "avx2", "avx512", "avx512_bf16" };

int test_each_isa(int (*run_all)(void))
{
    return run_with_all(isas, 3, run_all);
}

int test_each_isa_and_bf16(int (*run_all)(void))
{
    return run_with_all(isas, 4, run_all);
}
