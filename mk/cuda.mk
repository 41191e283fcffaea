# The CUDA backend, libcleave_cuda.so beside the command, and its emulator, which the tests of tests/cuda run on.
#   CUDA=auto  build it where nvcc is (default)     CUDA=1  fail without     CUDA=0  never look
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(shell command -v nvcc 2>/dev/null))
CUDA_ARCH ?= 90
ifeq ($(CUDA),0)
HAVE_CUDA :=
else
HAVE_CUDA := $(wildcard $(CUDA_HOME)/bin/nvcc)
endif
ifeq ($(filter auto 0 1,$(CUDA)),)
$(error CUDA=$(CUDA) is none of auto, 0, 1)
endif
ifeq ($(CUDA)$(HAVE_CUDA),1)
$(error CUDA=1: there is no nvcc on PATH and CUDA_HOME does not name a toolkit)
endif

CU_SRC  := $(sort $(wildcard runtime/device/cuda/*.cu))
CU_HOST := $(sort $(filter-out runtime/device/cuda/fault.c,$(wildcard runtime/device/cuda/*.c)))

# ---- emulator ----
CXX      ?= g++
CXX_WARN := $(filter-out -Wstrict-prototypes -Wmissing-prototypes,$(WARN)) -Wno-missing-field-initializers
EMU_FLAGS = -std=c++17 -D_GNU_SOURCE -DCLV_EMU $(OPT_$(CONFIG)) -g -ffile-prefix-map=$(CURDIR)=. -ffp-contract=off \
            -fno-exceptions -fno-rtti $(CXX_WARN)
EMU_OBJ  := $(CU_SRC:%.cu=$(BUILD)/emu/%.o) $(BUILD)/emu/runtime/device/cuda/emu.o $(BUILD)/runtime/device/cuda/fault.o

$(BUILD)/emu/%.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CXX) -x c++ $(EMU_FLAGS) $(ALL_CPPFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/emu/%.o: %.cpp $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CXX) $(EMU_FLAGS) $(ALL_CPPFLAGS) -MMD -MP -c $< -o $@

$(filter $(BUILD)/tests/cuda/%,$(TESTS)): $(BUILD)/tests/cuda/%: $(BUILD)/tests/cuda/%.o $(BUILD)/tests/cuda/device.o $(TLIB_OBJ) $(EMU_OBJ) $(BUILD)/libcleave.a
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(DEP_LIBS) -lcmocka -lstdc++ -o $@

-include $(EMU_OBJ:.o=.d)

# ---- backend ----
ifneq ($(HAVE_CUDA),)
NVCC      := $(CUDA_HOME)/bin/nvcc
CUDA_LIB  := $(firstword $(wildcard $(CUDA_HOME)/lib64 $(CUDA_HOME)/lib))
# Kernels are written to the registers of this architecture; on another one a few may spill.
SPILLS    := $(if $(filter 90,$(CUDA_ARCH)),-Xptxas -warn-spills)
NVCC_FLAGS := -std=c++17 -O3 --extended-lambda -gencode=arch=compute_$(CUDA_ARCH),code=sm_$(CUDA_ARCH) -lineinfo \
              $(SPILLS) -Werror all-warnings -D_GNU_SOURCE \
              -Xcompiler -fPIC,-fvisibility=hidden,-fno-threadsafe-statics,-fno-exceptions,-fno-rtti,-ffp-contract=off
CU_OBJ    := $(CU_SRC:%.cu=$(BUILD)/cuda/%.o) $(CU_HOST:%.c=$(BUILD)/cuda/%.o) \
             $(BUILD)/cuda/runtime/device/cuda/fault.o $(BUILD)/cuda/runtime/device/desc.o $(BUILD)/cuda/runtime/core/view.o
BACKEND   := $(BUILD)/libcleave_cuda.so

$(BUILD)/cuda/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(NVCC) $(NVCC_FLAGS)' | cmp -s - $@ || echo '$(NVCC) $(NVCC_FLAGS)' > $@

$(BUILD)/cuda/%.o: %.cu $(BUILD)/cuda/flags $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(NVCC) $(NVCC_FLAGS) -Iinclude -Iruntime -I. -MMD -MP -MF $(@:.o=.d) -c $< -o $@

# The same bits as the host's: no product goes into a sum unrounded.
$(addprefix $(BUILD)/cuda/runtime/device/cuda/,augment.o draw.o step.o): private NVCC_FLAGS += --fmad=false

$(BUILD)/cuda/runtime/device/cuda/runtime.o: private ALL_CPPFLAGS += -DCLV_CUDA_ARCH=$(CUDA_ARCH)

# The toolkit's headers warn of what is deprecated, and only there.
$(BUILD)/cuda/%.o: %.c $(BUILD)/cuda/flags $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -isystem $(CUDA_HOME)/include -DCUDNN_WARN_DEPRECATED -MMD -MP -c $< -o $@

$(BACKEND): $(CU_OBJ) mk/backend.map
	$(Q)$(CC) -shared -Wl,--version-script=mk/backend.map -Wl,-z,defs,-z,now $(ALL_LDFLAGS) $(CU_OBJ) -L$(CUDA_LIB) -Wl,-rpath,'$$ORIGIN:$(CUDA_LIB)' \
	    -lcudnn -lcublasLt -lcudart -lm -o $@

# Plans are made by the same code without a device.
$(BUILD)/tests/cuda/test_plans.o: ALL_CPPFLAGS += -DCLV_HAVE_CUDA -DCLV_CUDA_STUB='"$(CUDA_LIB)/stubs/libcuda.so"' \
    -isystem $(CUDA_HOME)/include
$(BUILD)/tests/cuda/test_plans: $(addprefix $(BUILD)/cuda/runtime/device/cuda/,dnn.o kept.o)
$(BUILD)/tests/cuda/test_plans: DEP_LIBS += -L$(CUDA_LIB) -Wl,-rpath,$(CUDA_LIB) -lcudnn

all: $(BACKEND)
-include $(CU_OBJ:.o=.d)
endif
