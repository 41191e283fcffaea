# Cleave. `make help` lists the targets.
ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX  ?= /usr/local
CONFIG  ?= release
CUDA    ?= auto
MPI     ?= auto
BUILD   := build/$(CONFIG)
Q       := $(if $(V),,@)
VERSION := $(shell sed -n 's/^.define CLV_VERSION_[A-Z]* *//p' include/cleave/base.h | paste -sd.)
# 0.x: a new minor version may break programs, so it is part of the soname.
SONAME  := libcleave.so.$(basename $(VERSION))

include mk/sources.mk
include mk/probe.mk

OPT_release := -O3
# Warnings that follow values through the code go wrong below -O2 and where instrumentation cuts the flow.
OPT_debug   := -O1 -Wno-maybe-uninitialized -Wno-format-truncation -Wno-stringop-overflow
OPT_asan    := $(OPT_debug) -fsanitize=address -fno-omit-frame-pointer
OPT_ubsan   := $(OPT_debug) -fsanitize=undefined -fno-sanitize-recover=undefined
OPT_tsan    := $(OPT_debug) -fsanitize=thread
ifeq ($(filter release debug asan ubsan tsan,$(CONFIG)),)
$(error CONFIG=$(CONFIG) is none of release, debug, asan, ubsan, tsan)
endif

CFLAGS  ?=
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wundef -Wdate-time \
           -Werror
# No -march: kernels carry target attributes and are chosen at run time, so one build runs on every x86-64.
ALL_CFLAGS := -std=c11 -D_GNU_SOURCE $(OPT_$(CONFIG)) -g -ffile-prefix-map=$(CURDIR)=. -fopenmp -fPIC \
              -fvisibility=hidden -ffp-contract=off $(WARN) $(CFLAGS)
ALL_CPPFLAGS := -Iinclude -Iruntime -I. $(DEP_CFLAGS) $(CPPFLAGS)
ALL_LDFLAGS := -fopenmp $(filter -fsanitize=%,$(OPT_$(CONFIG))) $(LDFLAGS)
ifeq ($(CONFIG),tsan)
LIB_SRC += mk/tsan_openmp.c
ALL_LDFLAGS += -Wl,--wrap=GOMP_parallel
endif
FLAGS := $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(DEP_LIBS)

PROTO_C  := $(PROTO_SRC:%.proto=$(BUILD)/proto/%.pb-c.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o) $(PROTO_C:.c=.o)
CLI_OBJ  := $(CLI_SRC:%.c=$(BUILD)/%.o)
TLIB_OBJ := $(TEST_LIB:%.c=$(BUILD)/%.o)
TESTS    := $(TEST_SRC:%.c=$(BUILD)/%)
BENCHES  := $(BENCH_SRC:%.c=$(BUILD)/%)
EXAMPLES := $(EXAMPLE_SRC:%.c=$(BUILD)/%)
TOOLS    := $(TOOL_SRC:%.c=$(BUILD)/%)
SHARED   := $(BUILD)/libcleave.so.$(VERSION)
# Uses every core unless the user already said how many.
JOBS      = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
# DEPS=no: whatever is installed has to do.
NEED      = @$(if $(filter no,$(DEPS)),:,sh mk/deps.sh)
SUBMAKE   = $(MAKE) --no-print-directory

.PHONY: all FORCE
all: build/cleave ## build the library and the command (build/cleave)
	@echo "cleave $(VERSION): build/cleave, $(if $(HAVE_CUDA),with the CUDA backend,for the CPU$(if $(filter auto,$(CUDA)), (no nvcc found)))"

# Protocol buffers become C. What protoc-c writes is not ours to warn about; its assertions would end the caller.
$(BUILD)/proto/%.pb-c.c $(BUILD)/proto/%.pb-c.h: %.proto
	@mkdir -p $(BUILD)/proto
	$(Q)protoc-c --c_out=$(BUILD)/proto $<

$(BUILD)/proto/%.o: $(BUILD)/proto/%.c $(BUILD)/flags
	$(Q)$(CC) $(ALL_CPPFLAGS) -I$(BUILD)/proto -DNDEBUG $(filter-out $(WARN),$(ALL_CFLAGS)) -MMD -MP -c $< -o $@

$(BUILD)/train/log/events.o: $(PROTO_C:.c=.h)
$(BUILD)/train/log/events.o: ALL_CPPFLAGS += -I$(BUILD)/proto

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# Rewritten only when it differs, so a changed flag rebuilds everything, once.
$(BUILD)/flags: FORCE
	@$(if $(DEP_MISSING),sh mk/deps.sh --check build)
	@mkdir -p $(@D)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@

# Likewise the list of what the library is made of: a file that is gone leaves it, too.
$(BUILD)/objects: FORCE
	@mkdir -p $(@D)
	@echo '$(LIB_OBJ)' | cmp -s - $@ || echo '$(LIB_OBJ)' > $@

$(BUILD)/libcleave.a: $(LIB_OBJ) $(BUILD)/objects
	@rm -f $@
	$(Q)$(AR) rcsD $@ $(LIB_OBJ)

$(SHARED): $(LIB_OBJ) $(BUILD)/objects mk/libcleave.map
	$(Q)$(CC) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=mk/libcleave.map -Wl,-z,defs,-z,now \
	    $(ALL_LDFLAGS) $(LIB_OBJ) $(DEP_LIBS) -o $@

$(BUILD)/cleave: $(CLI_OBJ) $(BUILD)/libcleave.a
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(DEP_LIBS) -o $@

build/cleave: $(BUILD)/cleave FORCE
	@ln -sfn $(CONFIG)/cleave $@

# Tests, benches and examples link the static library; tests may look inside.
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(TLIB_OBJ) $(BUILD)/libcleave.a
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(DEP_LIBS) -lcmocka -o $@

$(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/libcleave.a
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(DEP_LIBS) -o $@

$(BUILD)/examples/%: $(BUILD)/examples/%.o $(BUILD)/libcleave.a
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(DEP_LIBS) -o $@

# Tools draw data sets; FreeType is theirs alone.
# A root that would set errno cannot be one of many.
$(addprefix $(BUILD)/runtime/device/cpu/,beta_draw.o flat.o): ALL_CFLAGS += -fno-math-errno

$(BUILD)/recipes/tools/%.o: ALL_CPPFLAGS += $(FREETYPE_CFLAGS)
$(BUILD)/recipes/tools/%: $(BUILD)/recipes/tools/%.o $(BUILD)/libcleave.a
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(DEP_LIBS) $(FREETYPE_LIBS) -o $@

include mk/cuda.mk
include mk/comm.mk
-include mk/fuzz.mk
include mk/test.mk
include mk/install.mk
include mk/bundle.mk

.PHONY: deps demo sheets bench examples tools format lint clean help
# deps comes first and make starts anew after it: what was probed before an installation is out of date.
deps: ## install what the build and the report need (Debian, Ubuntu)
	$(NEED) build report

demo: ## install what is missing, build, train a small encoder and write its report (DATA=FILE: your own data)
	$(NEED) build report
	+@$(SUBMAKE) $(JOBS) all
	@DATA='$(DATA)' recipes/demo.sh

sheets: build/cleave ## make the contact sheets of docs/augment.md anew
	sh docs/sheets/make.sh build/cleave

bench: ## measure what cleave promises to be fast; results as CSV in build/bench.csv
	+@$(SUBMAKE) $(JOBS) $(BENCHES)
	@for b in $(BENCHES); do $$b || exit 1; done | tee build/bench.csv.new
	@mv build/bench.csv.new build/bench.csv

examples: $(EXAMPLES) ## build examples/*.c against the library in the build folder

tools: ## build the programs that made the pictures of the recipes (recipes/tools)
	$(NEED) build glyphs
	+@$(SUBMAKE) $(JOBS) $(TOOLS)

format: ## lay out the lines of C that changed since the last commit (clang-format)
	$(NEED) lint
	git clang-format --extensions c,h

lint: ## static analysis (clang-tidy, cppcheck)
	$(NEED) build lint
	+@$(SUBMAKE) lint-run

.PHONY: lint-run
lint-run: $(PROTO_C)
	@printf '%s\n' $(LIB_SRC) $(CLI_SRC) | xargs -P $$(nproc) -I{} \
	    clang-tidy --quiet {} -- -std=c11 -D_GNU_SOURCE -fopenmp $(ALL_CPPFLAGS) -I$(BUILD)/proto
	@cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability --inline-suppr \
	    --suppressions-list=mk/cppcheck.supp -D_GNU_SOURCE -Iinclude -Iruntime -I. $(LIB_SRC) $(CLI_SRC)

clean: ## remove everything that was built
	rm -rf build

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.SECONDARY:
-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(TLIB_OBJ:.o=.d) $(TESTS:=.d) $(BENCHES:=.d) $(EXAMPLES:=.d) $(TOOLS:=.d)
