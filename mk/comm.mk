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

$(BUILD)/train/comm/backends/nccl.o: ALL_CPPFLAGS += -isystem $(NCCL_HOME)/include -isystem $(CUDA_HOME)/include

$(NCCL_BACKEND): $(BUILD)/train/comm/backends/nccl.o mk/comm.map
	$(Q)$(CC) -shared -Wl,--version-script=mk/comm.map -Wl,-z,defs,-z,now $(ALL_LDFLAGS) $< -L$(NCCL_LIB) -L$(CUDA_LIB) \
	    -Wl,-rpath,'$$ORIGIN:$(NCCL_LIB):$(CUDA_LIB)' -lnccl -lcudart -o $@

all: $(NCCL_BACKEND)
-include $(BUILD)/train/comm/backends/nccl.d
endif
