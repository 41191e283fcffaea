#!/bin/sh
# Every kernel compiles, without a warning, for the oldest architecture there is support for, with the build's own flags.
set -u
nvcc=$(make -s --no-print-directory --eval 'compiler: ; @echo $(NVCC) $(NVCC_FLAGS)' CUDA_ARCH=80 compiler 2>/dev/null)
[ -n "$nvcc" ] || { echo "no nvcc"; exit 77; }
case $nvcc in *sm_80*) ;; *) echo "CUDA_ARCH does not reach nvcc: $nvcc"; exit 1 ;; esac
export nvcc
ls runtime/device/cuda/*.cu | xargs -P 2 -I {} sh -c '$nvcc -Iinclude -Iruntime -I. -cubin -o /dev/null {} || exit 255'
