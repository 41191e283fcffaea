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

int test_each_isa(int (*run_all)(void))
{
    static const char *const isas[] = { "plain", "avx2", "avx512", "avx512_bf16" };
    int failed = 0;
    if (getenv("CLEAVE_CPU_ISA")) return run_all() != 0;
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        if (run_with(isas[i]) != 0) failed = 1;
    return failed;
}
