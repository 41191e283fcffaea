# What carries words between ranks (train/comm): libcleave_mpi.so and libcleave_nccl.so beside the command, which opens
# them when a launcher has started it. NCCL is built where the CUDA backend is and nccl.h is found.
#   MPI=auto  build it where Open MPI is (default)     MPI=1  fail without     MPI=0  never look
ifeq ($(filter auto 0 1,$(MPI)),)
$(error MPI=$(MPI) is none of auto, 0, 1)
endif
ifneq ($(MPI),0)
HAVE_MPI := $(shell $(PKG_CONFIG) --exists ompi 2>/dev/null && echo yes)
endif
ifeq ($(MPI)$(HAVE_MPI),1)
$(error MPI=1: pkg-config does not know Open MPI (ompi))
endif

ifneq ($(HAVE_MPI),)
MPI_BACKEND := $(BUILD)/libcleave_mpi.so

# Its headers are not ours to warn of.
$(BUILD)/train/comm/backends/mpi.o: ALL_CPPFLAGS += $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags ompi))

$(MPI_BACKEND): $(BUILD)/train/comm/backends/mpi.o mk/comm.map
	$(Q)$(CC) -shared -Wl,--version-script=mk/comm.map -Wl,-z,defs,-z,now $(ALL_LDFLAGS) $< \
	    $(shell $(PKG_CONFIG) --libs ompi) -o $@

all: $(MPI_BACKEND)
# The tests start ranks.
test-run: $(MPI_BACKEND)
-include $(BUILD)/train/comm/backends/mpi.d
endif

# ---- NCCL ----
NCCL_HOME ?= $(CUDA_HOME)
ifneq ($(and $(HAVE_CUDA),$(wildcard $(NCCL_HOME)/include/nccl.h)),)
NCCL_BACKEND := $(BUILD)/libcleave_nccl.so
NCCL_LIB     := $(firstword $(wildcard $(NCCL_HOME)/lib64 $(NCCL_HOME)/lib))

NCCL_OBJ     := $(addprefix $(BUILD)/train/comm/backends/,nccl.o lines.o)
NCCL_HEADERS := -isystem $(NCCL_HOME)/include -isystem $(CUDA_HOME)/include

$(BUILD)/train/comm/backends/nccl.o: ALL_CPPFLAGS += $(NCCL_HEADERS)

$(NCCL_BACKEND): $(NCCL_OBJ) mk/comm.map
	$(Q)$(CC) -shared -Wl,--version-script=mk/comm.map -Wl,-z,defs,-z,now $(ALL_LDFLAGS) $(NCCL_OBJ) -L$(NCCL_LIB) -L$(CUDA_LIB) \
	    -Wl,-rpath,'$$ORIGIN:$(NCCL_LIB):$(CUDA_LIB)' -lnccl -lcudart -o $@

all: $(NCCL_BACKEND)
-include $(NCCL_OBJ:.o=.d)

# The back end's own code between ranks of the emulator: NCCL and the CUDA runtime are what the test brings.
STANDIN := $(BUILD)/tests/support/nccl
$(STANDIN)/libcleave_nccl.so: $(NCCL_OBJ) mk/comm.map
	@mkdir -p $(@D)
	$(Q)$(CC) -shared -Wl,--version-script=mk/comm.map $(ALL_LDFLAGS) $(NCCL_OBJ) -o $@

# Its prototypes are those of headers that do not declare them as C has it.
$(STANDIN)/standin.o: ALL_CPPFLAGS += $(NCCL_HEADERS)
$(STANDIN)/standin.o: ALL_CFLAGS += -Wno-missing-prototypes -fvisibility=default
$(BUILD)/tests/unit/test_nccl.o: ALL_CPPFLAGS += -DCLV_HAVE_NCCL
$(BUILD)/tests/unit/test_nccl: $(BUILD)/tests/unit/test_nccl.o $(STANDIN)/standin.o $(BUILD)/tests/cuda/device.o $(TLIB_OBJ) $(EMU_OBJ) \
                               $(BUILD)/libcleave.a $(STANDIN)/libcleave_nccl.so
	$(Q)$(CC) -Wl,--export-dynamic-symbol='nccl*',--export-dynamic-symbol='cuda*' $(ALL_LDFLAGS) \
	    $(filter-out %.so,$^) $(DEP_LIBS) -lcmocka -lstdc++ -o $@
-include $(STANDIN)/standin.d
endif
