# Fuzzing. The replay programs are part of `make test`; hunting for new inputs needs clang.
FUZZ_BIN    := $(FUZZ_SRC:%.c=$(BUILD)/%)
EXTRA_TESTS += $(FUZZ_BIN)
TARGET      ?= jpeg
TIME        ?= 60

$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/tests/fuzz/replay.o $(BUILD)/libcleave.a
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(DEP_LIBS) -o $@

.PHONY: fuzz-replay fuzz
fuzz-replay: $(FUZZ_BIN) ## run every fuzz target on its corpus and on fixed mutations of it
	@for f in $(FUZZ_BIN); do echo "$$f"; $$f || exit 1; done

# What reads bytes is compiled once more, with clang's instruments; the rest is taken as it is.
FUZZ_LIB := $(filter runtime/core/% data/% augment/% backbones/% train/%,$(LIB_SRC))
FUZZ_OBJ := $(FUZZ_LIB:%.c=build/fuzz/%.o) $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(FUZZ_LIB),$(LIB_SRC))) $(PROTO_C:.c=.o)
build/fuzz/train/log/events.o: $(PROTO_C:.c=.h)
build/fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(Q)clang $(ALL_CPPFLAGS) -I$(BUILD)/proto -std=c11 -D_GNU_SOURCE -O1 -g -fopenmp -ffp-contract=off \
	    -fsanitize=fuzzer-no-link,address -MMD -MP -c $< -o $@

build/fuzz/fuzz_%: build/fuzz/tests/fuzz/fuzz_%.o $(FUZZ_OBJ)
	$(Q)clang -fopenmp -fsanitize=fuzzer,address $^ $(DEP_LIBS) -o $@

# libhdf5 crashes within seconds: in a process that is started anew each time, crash after crash, sorted afterwards.
FUZZ_FOUND := build/fuzz/found
ifeq ($(TARGET),h5data)
FUZZ_ENV  := CLEAVE_FUZZ_DIRECT=1 ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0
FUZZ_MODE := -fork=1 -ignore_crashes=1 -ignore_ooms=1 -ignore_timeouts=1 -timeout=30 -max_len=32768
FUZZ_SORT := sh tests/fuzz/contained.sh build/fuzz/fuzz_h5data $(FUZZ_FOUND)
endif
fuzz: build/fuzz/fuzz_$(TARGET) ## hunt for TIME seconds with libFuzzer in TARGET (idx, cifar, h5data, jpeg, png, tensors, ...)
	@mkdir -p $(FUZZ_FOUND)/$(TARGET)
	$(FUZZ_ENV) build/fuzz/fuzz_$(TARGET) -max_total_time=$(TIME) -artifact_prefix=$(FUZZ_FOUND)/ -rss_limit_mb=4096 \
	    $(FUZZ_MODE) $(FUZZ_FOUND)/$(TARGET) tests/fuzz/corpus/$(TARGET)
	$(FUZZ_SORT)

-include $(FUZZ_BIN:=.d) $(BUILD)/tests/fuzz/replay.d $(FUZZ_OBJ:.o=.d)
