# Tests and the builds that look for trouble. Every test runs through tests/run.sh.
TEST_LIMIT ?= 120
# The sources are looked at once, not once per sanitizer.
ifeq ($(CONFIG),release)
META_TESTS := $(sort $(wildcard tests/meta/*.sh))
endif
CLI_TESTS  := $(sort $(wildcard tests/cli/*.sh tests/cli/*.case))
FAULT_TESTS := $(sort $(wildcard tests/fault/*.sh))
ALL_TESTS   = $(TESTS) $(EXTRA_TESTS) $(META_TESTS) $(CLI_TESTS) $(FAULT_TESTS)

# Compute threads sleep, not spin, between loops: tests run side by side and share the cores.
TEST_ENV := BUILD=$(BUILD) CLEAVE=$(CURDIR)/$(BUILD)/cleave CC='$(CC)' OMP_WAIT_POLICY=passive
# An absurd size must be refused with a NULL, as without a sanitizer: tests ask for one.
# mk/tsan_openmp.c tells the thread sanitizer how OpenMP orders memory; what other libraries do inside is left out.
TEST_ENV_asan  := ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1 \
                  LSAN_OPTIONS=suppressions=$(CURDIR)/mk/lsan.supp:print_suppressions=0
TEST_ENV_ubsan := UBSAN_OPTIONS=print_stacktrace=1
TEST_ENV_tsan  := TSAN_OPTIONS=halt_on_error=1:allocator_may_return_null=1:ignore_noninstrumented_modules=1
RUN_TESTS = env $(TEST_ENV) $(TEST_ENV_$(CONFIG)) bash tests/run.sh -t $(TEST_LIMIT)

.PHONY: test test-run asan ubsan tsan valgrind torture
test: ## install what is missing, build everything and run every test
	$(NEED) build report test
	+@$(SUBMAKE) $(JOBS) test-run

# Examples and benches are built so that they cannot rot.
test-run: $(if $(filter release,$(CONFIG)),all $(SHARED)) $(BUILD)/cleave $(TESTS) $(EXTRA_TESTS) $(BENCHES) $(EXAMPLES)
	@$(RUN_TESTS) $(ALL_TESTS)

asan ubsan tsan:
	+@$(SUBMAKE) CONFIG=$@ TEST_LIMIT=600 test
asan: ## all tests with the address sanitizer
ubsan: ## all tests with the undefined behaviour sanitizer
tsan: ## all tests with the thread sanitizer

# valgrind 3.19 knows no AVX-512, so everything that dispatches is told to stay below it.
VALGRIND := valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
            --suppressions=mk/valgrind.supp
valgrind: ## a smoke subset of the tests under valgrind
	$(NEED) build test valgrind
	+@$(SUBMAKE) $(JOBS) CONFIG=debug valgrind-run

.PHONY: valgrind-run
# One program of each area: fifty times slower than elsewhere, all would take most of an hour.
VALGRIND_TESTS := $(addprefix $(BUILD)/tests/unit/test_,context status option rng file view dlpack h5 bank_fifo decode \
                  dataset_files loader pack augment_chain config schedule graph params loss_api eval moco)
valgrind-run: $(VALGRIND_TESTS)
	@TEST_WRAP='$(VALGRIND)' DNNL_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell CLEAVE_CPU_ISA=avx2 OMP_NUM_THREADS=2 \
	    $(RUN_TESTS) -t 600 $(VALGRIND_TESTS)

# Scripts kill the release command: what counts there is how many moments are tried.
torture: ## the fault tests at full depth: every allocation and every write fails once, 50 kills (CLEAVE_TORTURE=1)
	$(NEED) build test
	+@$(SUBMAKE) $(JOBS) CONFIG=release build/release/cleave
	+@$(SUBMAKE) $(JOBS) CONFIG=asan TEST_LIMIT=3600 torture-run

.PHONY: torture-run
TORTURE_TESTS := $(filter $(BUILD)/tests/fault/%,$(TESTS))
torture-run: $(TORTURE_TESTS)
	@CLEAVE_TORTURE=1 $(RUN_TESTS) $(TORTURE_TESTS) $(FAULT_TESTS)
