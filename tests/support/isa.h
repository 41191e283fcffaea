/* isa.h: runs a test program once for each instruction set the CPU kernels are compiled for. */
#ifndef CLEAVE_TESTS_SUPPORT_ISA_H
#define CLEAVE_TESTS_SUPPORT_ISA_H

/* Calls run_all in a process of its own for plain, avx2 and avx512 (the choice is made once a process; what the machine
 * lacks falls back), or only here when CLEAVE_CPU_ISA is set. Returns 0 when all did. */
int test_each_isa(int (*run_all)(void));
/* The same, and with instructions for bfloat16 as a further set. */
int test_each_isa_and_bf16(int (*run_all)(void));

#endif
