/* isa.c: one process for each instruction set. */
#include "tests/support/isa.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int test_each_isa(int (*run_all)(void))
{
    static const char *const isas[] = { "plain", "avx2", "avx512" };
    int failed = 0;
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        fflush(NULL);
        const pid_t child = fork();
        if (child == 0) {
            setenv("CLEAVE_CPU_ISA", isas[i], 1);
            fprintf(stderr, "instruction set: %s\n", isas[i]);
            exit(run_all() != 0);
        }
        int status = 1;
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) failed = 1;
    }
    return failed;
}
