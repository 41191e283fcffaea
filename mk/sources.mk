# What is built from what. A new file in one of these folders is picked up by name; nothing is listed by hand.
LIB_DIRS  := runtime/core runtime/device/cpu runtime/device/onednn runtime/device/blas runtime/device runtime/tensor \
             losses memorybank augment backbones data train train/config train/step train/methods train/optimizers train/comm \
             train/log train/files train/trained eval eval/report
LIB_SRC   := $(sort $(foreach d,$(LIB_DIRS),$(wildcard $(d)/*.c)))
CLI_SRC   := $(sort $(wildcard cli/*.c))
TEST_SRC  := $(sort $(wildcard tests/unit/test_*.c tests/golden/test_*.c tests/gradient/test_*.c tests/parity/test_*.c \
             tests/property/test_*.c tests/fault/test_*.c tests/cuda/test_*.c))
TEST_LIB  := $(sort $(wildcard tests/support/*.c))
FUZZ_SRC  := $(sort $(wildcard tests/fuzz/fuzz_*.c))
BENCH_SRC := $(sort $(wildcard bench/bench_*.c))
EXAMPLE_SRC := $(sort $(wildcard examples/*.c))
TOOL_SRC  := $(sort $(wildcard recipes/tools/*.c))
PROTO_SRC := $(sort $(wildcard train/log/*.proto))
