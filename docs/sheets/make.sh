#!/bin/sh
# Makes the contact sheets of docs/augment.md: two computed pictures, or letters, and views of them by every preset.
#   docs/sheets/make.sh CLEAVE      (make sheets)
set -eu
cleave=$1
folder=$(dirname "$0")

for preset in $("$cleave" augment list | sed -n '/^presets:/,/^steps:/s/^  \([a-z0-9-]*\) .*/\1/p'); do
    own=$("$cleave" augment show "$preset" | sed -n 's/.* size=\([0-9]*\).*/\1/p' | head -n 1)
    data= shape="--size 64" views=6
    [ "$own" -gt 64 ] || shape="--zoom 2"
    case $preset in eval*) views=1 ;; esac
    case $preset in *glyphs) data=recipes/data/glyphs.h5 ;; esac
    # shellcheck disable=SC2086
    "$cleave" augment preview $data --preset "$preset" --images 2 --views $views $shape -o "$folder/$preset.png"
done
