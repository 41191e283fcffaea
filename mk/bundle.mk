# A folder with everything a machine with a GPU needs to train and to run `gpu-check`, and the same as an archive.
BUNDLE := build/cleave-$(VERSION)-$(shell uname -m)
CUDA_TESTS := $(filter $(BUILD)/tests/cuda/%,$(TESTS))
GPU_BENCHES := $(addprefix $(BUILD)/bench/,bench_step bench_moco)
BUNDLE_PROGRAMS := $(BUILD)/cleave $(CUDA_TESTS) $(GPU_BENCHES) $(BACKEND)
# By the names they have in the sources: the programs look for them there.
BUNDLE_FILES := $(wildcard tests/golden/*/*.h5 bench/peers/*.py recipes/*.yaml) tests/cuda/h100_deviceprop.json \
                tests/cuda/gpu_check.sh tests/run.sh docs/gpu-results.md LICENSE

.PHONY: bundle bundle-run gpu-check gpu-check-run
bundle: ## a folder for a machine with a GPU: programs, tests, the libraries they need, gpu-check; and as .tar.xz
	$(NEED) build test bundle
	+@$(SUBMAKE) $(JOBS) bundle-run
	@tar -C build -c $(notdir $(BUNDLE)) | xz -T0 -3 >$(BUNDLE).tar.xz
	@echo "$(BUNDLE): $$(du -sm $(BUNDLE) | cut -f 1) MB; $(BUNDLE).tar.xz: $$(du -m $(BUNDLE).tar.xz | cut -f 1) MB"
	@test $$(wc -c <$(BUNDLE).tar.xz) -lt 60000000 || { echo "the archive has more than 60 MB"; exit 1; }

bundle-run: $(BUNDLE_PROGRAMS)
	@BUILD=$(BUILD) sh mk/bundle.sh $(BUNDLE) $(BUNDLE_PROGRAMS) -- $(BUNDLE_FILES)

gpu-check: ## with a GPU: check and time the CUDA backend, results to docs/gpu-results.md (ARGS=--rehearse: without one)
	$(NEED) build test
	+@$(SUBMAKE) $(JOBS) gpu-check-run

gpu-check-run: $(BUNDLE_PROGRAMS)
	@BUILD=$(BUILD) bash tests/cuda/gpu_check.sh $(ARGS)
