#!/bin/sh
# What a hunt in HDF5 files found: crashes of libhdf5 are known and contained, others are ours.
#   tests/fuzz/contained.sh FUZZ_H5DATA FOLDER
#
# Each file found is opened once more in one process; where that fails, the innermost frame outside of the C library and
# the sanitizer must be libhdf5's. Opened through the child process it must do no harm.
set -u
fuzz=$1
folder=$2
ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0
export ASAN_OPTIONS
files=0 theirs=0 ours=0
for file in "$folder"/crash-* "$folder"/oom-* "$folder"/timeout-*; do
    [ -f "$file" ] || continue
    files=$((files + 1))
    if ! report=$(CLEAVE_FUZZ_DIRECT=1 timeout 60 "$fuzz" "$file" 2>&1); then
        frame=$(printf '%s\n' "$report" | grep -E '^ +#[0-9]+ ' |
            grep -vE 'interceptor|__asan|__sanitizer|fuzzer::|libc\.so|sysdeps/|libz\.so' | head -n 1)
        case $frame in
        *libhdf5*) theirs=$((theirs + 1)) ;;
        *) ours=$((ours + 1)); echo "$file: $frame" ;;
        esac
    fi
    if ! timeout 150 "$fuzz" "$file" >/dev/null 2>&1; then
        ours=$((ours + 1))
        echo "$file: not contained by the child process"
    fi
done
echo "$files files: $theirs still crash libhdf5, all contained; $ours findings"
[ "$ours" -eq 0 ]
