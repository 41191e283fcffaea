#!/bin/bash
# A bundle has less than 60 MB, runs where it was moved to, with nothing in the environment, and takes no library from this
# machine but the C library and CUDA's. Its gpu-check says what is missing, and can be rehearsed without a GPU.
set -u
command -v patchelf >/dev/null || { echo "no patchelf (\`make bundle\` installs it)"; exit 77; }
fail() { echo "$*"; exit 1; }
env -u MAKEFLAGS -u MAKELEVEL make bundle-run >"$TMPDIR/make.log" 2>&1 || { cat "$TMPDIR/make.log"; exit 1; }
mv build/cleave-*-"$(uname -m)" "$TMPDIR/moved"
cd "$TMPDIR" || exit 1
size=$(du -sb moved | cut -f 1)
[ "$size" -lt 60000000 ] || { du -ab moved | sort -rn | head -n 20; fail "the bundle has $size bytes"; }
bare() { env -i PATH=/usr/bin:/bin OMP_WAIT_POLICY=passive PYTHON=/nonexistent "$@"; }

for program in moved/cleave moved/tests/cuda/test_graph moved/tests/cuda/test_plans; do
    from=$(bare LD_TRACE_LOADED_OBJECTS=1 $program | awk '$2 == "=>" && $1 !~ /^(lib(c|m|dl|rt|pthread|resolv)\.so|libcud|libcublas|libnv)/ { print $3 }')
    [ -n "$from" ] || fail "$program: needs nothing?"
    ! grep -v "^$TMPDIR/moved/" <<<"$from" || fail "$program: takes these from the machine"
done
bare moved/cleave version >/dev/null || fail "the command does not run"
ln -s moved/cleave other && bare ./other version >/dev/null || fail "the command does not run by another name"

bare moved/gpu-check --speed 2>error && fail "an unknown option is taken"
grep -q "no option '--speed'" error || fail "an unknown option is not told: $(cat error)"
[ ! -e moved/libcleave_cuda.so ] || moved/cleave devices | grep -qE '^cuda.*CUDA [0-9]+\.[0-9]+, cuDNN [0-9]+\.[0-9]+\.[0-9]+, cuBLASLt [0-9]' ||
    fail "the libraries' versions are not told: $(moved/cleave devices)"
if ! moved/cleave devices | grep -q '^cuda:0'; then
    bare moved/gpu-check >out 2>error
    [ $? = 2 ] || fail "without a GPU the exit status is not 2"
    grep -qE 'gpu-check: cuda:0: .' error || fail "without a GPU it says: $(cat error)"
fi
bare moved/gpu-check --rehearse --log log >out 2>&1 || { cat out; fail "the rehearsal fails"; }
for line in 'test_graph .*passed' 'Cleave, ResNet-20 step .*images/s' 'MoCo v2 .*images/s' 'where the time goes' \
    'SGD and momentum update .* % of a copy .goal: 85 %' 'InfoNCE .* us .floors: .*goal: 100 us' 'recorded .*launch by launch .goal' \
    'Training on glyphs, recorded .*launch by launch' 'Training on glyphs, 4 parts, recorded .*launch by launch' \
    'compute-sanitizer memcheck, a training step'; do
    grep -qE "$line" out || { cat out; fail "the rehearsal does not say: $line"; }
done
[ "$(grep -c '^| 20' moved/log/gpu-results.md 2>/dev/null)" -ge 6 ] || fail "the rehearsal left no table"
