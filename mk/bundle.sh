#!/bin/sh
# Makes a folder that can be moved to a machine with nothing of what the build needed.
#   mk/bundle.sh DIR PROGRAM... -- FILE...
# Programs lie in it as below $BUILD, files as in the sources. Left out are libraries every machine has (the C library)
# and those of CUDA, which a machine with a GPU has: where they are is for it to say.
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

# The folder of libraries from a program's own: lib, ../lib, ../../lib.
up_to_lib() {
    echo "$1" | awk -F / '{ path = "$ORIGIN"; for (i = 1; i < NF; i++) path = path "/.."; print path "/lib" }'
}

# libraries FILE: "name path" of all it needs, directly or not, that are to be taken along
libraries() {
    ldd "$1" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | grep -vE \
        '^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv)\.so|lib(cuda|cudart|cublas|cublasLt|cudnn[a-z_]*|nvrtc|nccl)\.so)' || true
}

# The old kind of run path holds for what the libraries need, too.
while [ "$1" != -- ]; do
    name=${1#"$BUILD"/}
    place "$1" "$name"
    strip "$dir/$name"
    case $name in
    *.so) ;;                     # it finds CUDA's libraries by itself
    *) patchelf --force-rpath --set-rpath "$(up_to_lib "$name")" "$dir/$name" ;;
    esac
    libraries "$1" | while read -r library path; do
        [ -e "$dir/lib/$library" ] || cp -L "$path" "$dir/lib/$library"
    done
    shift
done
shift

for file in "$@"; do place "$file" "$file"; done
git rev-parse --short HEAD >"$dir/COMMIT" 2>/dev/null || echo unknown >"$dir/COMMIT"
ln -s tests/cuda/gpu_check.sh "$dir/gpu-check"
chmod 755 "$dir/tests/cuda/gpu_check.sh"
