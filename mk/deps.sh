#!/bin/sh
# Finds what the given groups need and installs what is missing with the system's package manager.
#   mk/deps.sh [--check] GROUP...       groups: build report test bundle valgrind lint fuzz glyphs fashion-mnist
# --check only reports. Exit status: 0 nothing is missing (any more), 1 something is.
# Debian and Ubuntu are installed from here. For Fedora and Arch the likely package names are only printed.
set -u

# group     probe                     Debian, Ubuntu         Fedora               Arch
packages='
build       program:gcc               gcc                    gcc                  gcc
build       program:ld                binutils               binutils             binutils
build       header:stdio.h            libc6-dev              glibc-devel          glibc
build       program:pkg-config        pkg-config             pkgconf-pkg-config   pkgconf
build       header:dnnl.h             libdnnl-dev            onednn-devel         onednn
build       openmp:openblas           libopenblas-openmp-dev openblas-devel       openblas
build       module:hdf5               libhdf5-dev            hdf5-devel           hdf5
build       module:libturbojpeg       libturbojpeg0-dev      turbojpeg-devel      libjpeg-turbo
build       module:libjpeg            libjpeg-dev            libjpeg-turbo-devel  libjpeg-turbo
build       module:spng               libspng-dev            libspng-devel        libspng
build       module:zlib               zlib1g-dev             zlib-devel           zlib
build       module:yaml-0.1           libyaml-dev            libyaml-devel        libyaml
build       module:jansson            libjansson-dev         jansson-devel        jansson
build       module:ompi               libopenmpi-dev         openmpi-devel        openmpi
build       program:mpirun            openmpi-bin            openmpi              openmpi
build       module:libprotobuf-c      libprotobuf-c-dev      protobuf-c-devel     protobuf-c
build       program:protoc-c          protobuf-c-compiler    protobuf-c-compiler  protobuf-c
report      program:gnuplot           gnuplot-nox            gnuplot              gnuplot
test        header:cmocka.h           libcmocka-dev          libcmocka-devel      cmocka
test        program:chromium          chromium               chromium             chromium
test        program:g++               g++                    gcc-c++              gcc
bundle      program:patchelf          patchelf               patchelf             patchelf
valgrind    program:valgrind          valgrind               valgrind             valgrind
lint        program:clang-tidy        clang-tidy             clang-tools-extra    clang
lint        program:clang-format      clang-format           clang-tools-extra    clang
lint        file:/usr/lib/llvm-*/lib/clang/*/include/omp.h libomp-dev libomp-devel   openmp
lint        program:cppcheck          cppcheck               cppcheck             cppcheck
fuzz        program:clang             clang                  clang                clang
fuzz        file:/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a libclang-rt-dev compiler-rt compiler-rt
glyphs      module:freetype2          libfreetype-dev        freetype-devel       freetype2
fashion-mnist file:/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz dataset-fashion-mnist - -
'

# The OpenMP build may stand beside OpenBLAS's other builds; mk/probe.mk prefers it in the same way.
for dir in /usr/lib/*/openblas-openmp/pkgconfig; do
    [ ! -d "$dir" ] || PKG_CONFIG_PATH=$dir:${PKG_CONFIG_PATH:-}
done
export PKG_CONFIG_PATH="${PKG_CONFIG_PATH:-}"

present() {     # present KIND:NAME
    name=${1#*:}
    case $1 in
    program:*) command -v "$name" ;;
    file:*)    ls $name ;;      # a pattern
    module:*)  pkg-config --exists "$name" ;;
    # cmocka.h wants these four before itself.
    header:*)  printf '#include <%s>\n' stdarg.h stddef.h stdint.h setjmp.h "$name" | gcc -E - ;;
    # OpenBLAS's pthread build fights the OpenMP team that everything else runs on.
    openmp:*)  case $(pkg-config --variable=openblas_config "$name") in *USE_OPENMP=1*) ;; *) false ;; esac ;;
    esac >/dev/null 2>&1
}

missing() {     # missing COLUMN: the package names, one a line
    echo "$packages" | while read -r group probe debian fedora arch; do
        case " $groups " in *" $group "*) ;; *) continue ;; esac
        present "$probe" && continue
        case $1 in debian) echo "$debian" ;; fedora) echo "$fedora" ;; arch) echo "$arch" ;; esac
    done | sort -u | tr '\n' ' '
}

check=
[ "${1:-}" != --check ] || { check=1; shift; }
groups=$*
[ -n "$groups" ] || { echo "usage: mk/deps.sh [--check] GROUP..." >&2; exit 2; }

if command -v apt-get >/dev/null; then system=debian install='apt-get install -y --no-install-recommends'
elif command -v dnf >/dev/null;   then system=fedora install='dnf install'
elif command -v pacman >/dev/null; then system=arch  install='pacman -S --needed'
else system=debian install='(the packages of your system, which Debian calls)'
fi

list=$(missing $system)
list=${list% }
[ -n "$list" ] || exit 0

if [ -n "$check" ]; then
    echo "missing: $list"
    echo "\`make deps\` installs what the build needs; by hand: $install $list"
    exit 1
fi >&2

if ! command -v apt-get >/dev/null; then
    echo "missing: $list"
    echo "install them, then run make again (the names are not tested on this system):"
    echo "    $install $list"
    exit 1
fi >&2

if [ "$(id -u)" = 0 ]; then as_root=
elif sudo -n true 2>/dev/null; then as_root='sudo -n'
else
    echo "missing: $list"
    echo "installing them needs an administrator's rights:"
    echo "    sudo apt-get update && sudo $install $list"
    exit 1
fi >&2

echo "installing: $list"
$as_root apt-get update -q || exit 1
# shellcheck disable=SC2086 # the words of these variables are meant to be split
$as_root env DEBIAN_FRONTEND=noninteractive $install $list || exit 1

list=$(missing debian)
[ -z "$list" ] || { echo "still not found after the installation: $list" >&2; exit 1; }
