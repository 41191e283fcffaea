# Cleave. `make help` lists the targets.
CC      ?= gcc
PREFIX  ?= /usr/local
CONFIG  ?= release
BUILD   := build/$(CONFIG)
Q       := $(if $(V),,@)

include mk/sources.mk
include mk/probe.mk

OPT_release := -O3
OPT_debug   := -O1 -g
OPT_asan    := -O1 -g -fsanitize=address -fno-omit-frame-pointer
OPT_ubsan   := -O1 -g -fsanitize=undefined -fno-sanitize-recover=undefined
OPT_tsan    := -O1 -g -fsanitize=thread
CFLAGS  ?=
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wundef -Werror
ALL_CFLAGS := -std=c11 -D_GNU_SOURCE $(OPT_$(CONFIG)) -g -fopenmp -fPIC -fvisibility=hidden -ffp-contract=off $(WARN) $(CFLAGS)
ALL_CPPFLAGS := -Iinclude -Iruntime -I. $(DEP_CFLAGS) $(CPPFLAGS)
ALL_LDFLAGS := -fopenmp $(filter -fsanitize=%,$(OPT_$(CONFIG))) $(LDFLAGS)

LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
CLI_OBJ  := $(CLI_SRC:%.c=$(BUILD)/%.o)
TLIB_OBJ := $(TEST_LIB:%.c=$(BUILD)/%.o)
TESTS    := $(TEST_SRC:%.c=$(BUILD)/%)
BENCHES  := $(BENCH_SRC:%.c=$(BUILD)/%)

.PHONY: all FORCE
all: build/cleave ## build the library and the command (build/cleave)

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# Rewritten only when it differs, so a changed flag rebuilds everything, once.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS)' > $@

$(BUILD)/libcleave.a: $(LIB_OBJ)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/cleave: $(CLI_OBJ) $(BUILD)/libcleave.a
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(DEP_LIBS) -o $@

build/cleave: $(BUILD)/cleave
	@ln -sf $(CONFIG)/cleave $@

# Tests and benches link the static library: they may look inside.
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(TLIB_OBJ) $(BUILD)/libcleave.a
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(DEP_LIBS) -lcmocka -o $@

$(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/libcleave.a
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(DEP_LIBS) -o $@

.SECONDARY:
-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(TLIB_OBJ:.o=.d) $(TESTS:=.d) $(BENCHES:=.d)
