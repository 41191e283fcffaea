#!/bin/sh
# Makes a folder that can be moved to a machine with nothing of what the build needed.
#   mk/bundle.sh DIR FOLDER PROGRAM... -- NAME... -- FILE...
# A program of a FOLDER lies in DIR as in it, a FILE as in the sources; a NAME is another one of the program `cleave`. Left
# out are libraries every machine has (the C library) and those of CUDA, which a machine with a GPU has: where they are is
# for it to say. Fails when all together have more than 60 MB.
set -eu
LC_ALL=C
export LC_ALL

dir=$1
shift
rm -rf "$dir" "$dir.tar.xz"
mkdir -p "$dir/lib"

# place SOURCE NAME
place() {
    mkdir -p "$dir/$(dirname "$2")"
    cp -L "$1" "$dir/$2"
}

# The root of the folder as seen from a file in it: ., .., ../..
root_from() {
    echo "$1" | awk -F / '{ path = "."; for (i = 1; i < NF; i++) path = i == 1 ? ".." : path "/.."; print path }'
}

# libraries FILE: "name path" of all it needs, directly or not, that are to be taken along
libraries() {
    ldd "$1" | awk '$2 == "=>" && $3 !~ /^not$/ { print $1, $3 }' | grep -vE \
        '^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv)\.so|lib(cuda|cudart|cublas|cublasLt|cudnn[a-z_]*|nvrtc|nccl)\.so)' || true
}

# The old kind of run path holds for what the libraries need, too.
while [ "$1" != -- ]; do
    name=$2
    place "$1/$name" "$name"
    libraries "$1/$name" | while read -r library path; do
        [ -e "$dir/lib/$library" ] || place "$path" "lib/$library"
    done
    strip "$dir/$name"
    case $name in
    *.so) ;;                     # it finds CUDA's libraries by itself
    *) patchelf --force-rpath --set-rpath "\$ORIGIN/$(root_from "$name")/lib" "$dir/$name" ;;
    esac
    shift 2
done
shift
for library in "$dir"/lib/*; do strip --strip-unneeded "$library"; done

while [ "$1" != -- ]; do
    mkdir -p "$dir/$(dirname "$1")"
    ln -s "$(root_from "$1")/cleave" "$dir/$1"
    shift
done
shift

for file in "$@"; do place "$file" "$file"; done
git rev-parse --short HEAD >"$dir/COMMIT" 2>/dev/null || echo unknown >"$dir/COMMIT"
ln -s tests/cuda/gpu_check.sh "$dir/gpu-check"
chmod 755 "$dir/tests/cuda/gpu_check.sh"

size=$(($(du -sb "$dir" | cut -f 1) / 1000000))
echo "$dir: $size MB"
[ "$size" -lt 60 ] || { echo "a bundle has less than 60 MB" >&2; exit 1; }
