# A folder with everything a machine with a GPU needs to train and to run `gpu-check`, and the same as an archive.
BUNDLE := build/cleave-$(VERSION)-$(shell uname -m)
CUDA_TESTS := $(filter $(BUILD)/tests/cuda/%,$(TESTS))
GPU_BENCHES := $(addprefix $(BUILD)/bench/,bench_step bench_moco bench_device)
# By the names they have in the sources: the programs look for them there.
BUNDLE_FILES := $(wildcard tests/golden/losses/*.h5 tests/golden/optimizers/*.h5 bench/peers/*.py recipes/*.yaml) recipes/data/glyphs.h5 \
                tests/cuda/h100_deviceprop.json tests/cuda/gpu_check.sh tests/run.sh docs/gpu-results.md LICENSE

# ---- one program of many names (bundle.c), and test_plans, which needs cuDNN to start ----
BUNDLE_DIR   := $(BUILD)/bundle
BUNDLE_NAMES := $(patsubst $(BUILD)/%,%,$(filter-out %/test_plans,$(CUDA_TESTS)) $(GPU_BENCHES))
BUNDLE_MAINS := $(addprefix $(BUNDLE_DIR)/,$(addsuffix .o,cli/cleave $(BUNDLE_NAMES)))
BUNDLE_PROGRAMS := $(BUNDLE_DIR)/cleave $(BUNDLE_DIR)/tests/cuda/test_plans
# oneDNN, 40 MB, stays away: on the processor convolutions are then done by plain C.
BUNDLE_OBJ   := $(BUNDLE_DIR)/runtime/device/device.o $(BUILD)/tests/cuda/device.o $(TLIB_OBJ) $(EMU_OBJ) \
                $(filter-out $(BUILD)/runtime/device/device.o $(BUILD)/runtime/device/onednn/%,$(LIB_OBJ))

$(BUNDLE_DIR)/runtime/device/device.o: ALL_CPPFLAGS += -DCLV_NO_ONEDNN
$(BUNDLE_DIR)/runtime/device/device.o: runtime/device/device.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(BUNDLE_DIR)/programs.def: FORCE
	@mkdir -p $(@D)
	@printf 'PROGRAM(%s)\n' cleave $(notdir $(BUNDLE_NAMES)) >$@.new
	@cmp -s $@.new $@ || cp $@.new $@

$(BUNDLE_DIR)/bundle.o: mk/bundle.c $(BUNDLE_DIR)/programs.def $(BUILD)/flags
	$(Q)$(CC) -I$(BUNDLE_DIR) $(ALL_CFLAGS) -c $< -o $@

$(BUNDLE_DIR)/cli/cleave.o: $(BUILD)/cli/main.o
$(filter-out %/cleave.o,$(BUNDLE_MAINS)): $(BUNDLE_DIR)/%.o: $(BUILD)/%.o
$(BUNDLE_MAINS):
	@mkdir -p $(@D)
	$(Q)objcopy --redefine-sym main=$(basename $(@F))_main $< $@

# Debian's archive of HDF5 lacks what its shared library wants for reading from the web, 14 MB of libraries.
HDF5_ARCHIVE := $(firstword $(wildcard $(patsubst -L%,%/libhdf5.a,$(filter -L%,$(DEP_LIBS)))))
# OpenBLAS, what is called of it: for processors with AVX2 and AVX-512, and one that runs on all others; 8 MB of 36.
BLAS_ARCHIVE := $(wildcard $(OPENBLAS_DIR)/libopenblas.a)
BLAS_CORES    = $(shell $(AR) t $(BLAS_ARCHIVE) | sed -n 's/^setparam_\(.*\)\.o$$/\1/p')
BLAS_KEPT    := PRESCOTT HASWELL ZEN SKYLAKEX COOPERLAKE
BUNDLE_BLAS  := $(if $(BLAS_ARCHIVE),$(BUNDLE_DIR)/libopenblas.so.0)

$(BUNDLE_DIR)/libopenblas.so.0: $(BLAS_ARCHIVE)
	@mkdir -p $(@D)
	$(Q)$(CC) -shared -fopenmp -Wl,-soname,$(@F) -Wl,-u,cblas_sgemm,-u,cblas_dgemm,-u,dsyev_ \
	    $(foreach c,$(filter-out $(BLAS_KEPT),$(BLAS_CORES)),-Wl,--defsym=gotoblas_$c=gotoblas_PRESCOTT) $< -lm -o $@

BUNDLE_LIBS = $(patsubst -lhdf5,$(if $(HDF5_ARCHIVE),$(HDF5_ARCHIVE) -lsz -lz,-lhdf5), \
              $(patsubst -lopenblas,$(or $(BUNDLE_BLAS),-lopenblas),$(filter-out -ldnnl,$(DEP_LIBS)))) -lcmocka -lstdc++

$(BUNDLE_DIR)/cleave: $(BUNDLE_DIR)/bundle.o $(BUNDLE_MAINS) $(filter-out %/main.o,$(CLI_OBJ))
$(BUNDLE_DIR)/tests/cuda/test_plans: $(BUILD)/tests/cuda/test_plans.o
$(BUNDLE_PROGRAMS): $(BUNDLE_OBJ) $(BUNDLE_BLAS)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,--gc-sections,--as-needed $(filter %.o,$^) $(BUNDLE_LIBS) -o $@
ifneq ($(HAVE_CUDA),)
$(BUNDLE_DIR)/tests/cuda/test_plans: $(addprefix $(BUILD)/cuda/runtime/device/cuda/,dnn.o kept.o)
$(BUNDLE_DIR)/tests/cuda/test_plans: BUNDLE_LIBS += -L$(CUDA_LIB) -lcudnn
endif
-include $(BUNDLE_DIR)/runtime/device/device.d

.PHONY: bundle bundle-run gpu-check gpu-check-run
bundle: ## a folder for a machine with a GPU: programs, tests, the libraries they need, gpu-check; and as .tar.xz
	$(NEED) build test bundle
	+@$(SUBMAKE) $(JOBS) bundle-run
	@tar -C build -c $(notdir $(BUNDLE)) | xz -T0 -3 >$(BUNDLE).tar.xz
	@echo "$(BUNDLE).tar.xz: $$(du -BMB $(BUNDLE).tar.xz | cut -f 1)"

bundle-run: $(BUNDLE_PROGRAMS) $(BACKEND) $(NCCL_BACKEND)
	@LD_LIBRARY_PATH=$(BUNDLE_DIR):$$LD_LIBRARY_PATH sh mk/bundle.sh $(BUNDLE) $(BUNDLE_PROGRAMS:$(BUNDLE_DIR)/%=$(BUNDLE_DIR) %) \
	    $(patsubst $(BUILD)/%,$(BUILD) %,$(BACKEND) $(NCCL_BACKEND)) -- $(BUNDLE_NAMES) -- $(BUNDLE_FILES)

gpu-check: ## with a GPU: check and time the CUDA backend, results to docs/gpu-results.md (ARGS=--rehearse: without one)
	$(NEED) build test
	+@$(SUBMAKE) $(JOBS) gpu-check-run

gpu-check-run: $(BUILD)/cleave $(CUDA_TESTS) $(GPU_BENCHES) $(BACKEND)
	@BUILD=$(BUILD) bash tests/cuda/gpu_check.sh $(ARGS)
