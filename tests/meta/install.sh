#!/bin/bash
# What `make install` puts down can be used: every example is built outside of the sources, by pkg-config alone, and run,
# with the shared and with the static library. `make uninstall` leaves nothing behind, and DESTDIR is put before everything.
set -u
cc=${CC:-gcc}
quiet_make() {
    # A make of its own: the job server of the one that runs the tests is out of reach here.
    env -u MAKEFLAGS -u MAKELEVEL make "$@" >"$TMPDIR/make.log" 2>&1 || { cat "$TMPDIR/make.log"; exit 1; }
}
fail() { echo "$*"; exit 1; }

prefix=$TMPDIR/prefix
quiet_make install "PREFIX=$prefix"
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig:${PKG_CONFIG_PATH:-}"
version=$(pkg-config --modversion cleave) || exit 1

cat >"$TMPDIR/version.c" <<'END'
#include <cleave/cleave.h>
#include <stdio.h>
int main(void) { return puts(clv_version()) < 0; }
END
cp examples/*.c "$TMPDIR" 2>/dev/null
cd "$TMPDIR" || exit 1
read -r -a cflags <<<"$(pkg-config --cflags cleave)"
read -r -a shared <<<"$(pkg-config --libs cleave)"
read -r -a static <<<"$(pkg-config --static --libs cleave)"
static=("${static[@]/#-lcleave/$prefix/lib/libcleave.a}")
for source in *.c; do
    build=("$cc" -std=c11 -Wall -Wextra -Werror -D_GNU_SOURCE "${cflags[@]}" "$source")
    "${build[@]}" "${shared[@]}" -lm -o "${source%.c}.shared" || fail "$source: not with the shared library"
    "${build[@]}" "${static[@]}" -lm -o "${source%.c}.static" || fail "$source: not with the static library"
done

needed=$(LC_ALL=C readelf -d version.shared | grep NEEDED)
[[ $needed == *"libcleave.so.${version%.*}]"* ]] || fail "the soname is not libcleave.so.${version%.*}: $needed"
needed=$(LC_ALL=C readelf -d version.static | grep NEEDED)
[[ $needed != *libcleave* ]] || fail "the static build needs the shared library"
[ "$(LD_LIBRARY_PATH=$prefix/lib ./version.shared)" = "$version" ] || fail "the shared library is not version $version"
[ "$(./version.static)" = "$version" ] || fail "the static library is not version $version"
# Every example says by its exit status whether it did what it shows.
for source in *.c; do
    ./"${source%.c}.static" >/dev/null || fail "$source: fails with the static library"
    LD_LIBRARY_PATH=$prefix/lib ./"${source%.c}.shared" >/dev/null || fail "$source: fails with the shared library"
done
"$prefix/bin/cleave" version >/dev/null || fail "the installed command does not run"
# Debian lets several builds of OpenBLAS stand side by side under one name.
for user in "$prefix/bin/cleave" "$prefix/lib/libcleave.so" ./version.static; do
    blas=$(ldd "$user" | awk '$1 ~ /openblas/ { print $3 }')
    [ -z "$blas" ] || ldd "$blas" | grep -q libgomp || fail "$user: $blas is not OpenBLAS's OpenMP build"
done

cd "$OLDPWD" || exit 1
quiet_make uninstall "PREFIX=$prefix"
left=$(find "$prefix" ! -type d)
[ -z "$left" ] || fail "left behind by uninstall:" "$left"

quiet_make install PREFIX=/usr "DESTDIR=$TMPDIR/stage"
left=$(find "$TMPDIR/stage" -mindepth 1 -maxdepth 1)
[ "$left" = "$TMPDIR/stage/usr" ] || fail "DESTDIR was not put before everything:" "$left"
! grep -q "$TMPDIR" "$TMPDIR/stage/usr/lib/pkgconfig/cleave.pc" || fail "cleave.pc holds the path of DESTDIR"
