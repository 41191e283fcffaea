#!/bin/sh
# Makes the contact sheets of docs/augment.md: two pictures, computed here, and views of them by every preset.
#   docs/sheets/make.sh CLEAVE      (make sheets)
set -eu
cleave=$1
folder=$(dirname "$0")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Two landscapes of 240 x 320: sky with a sun and clouds, hills, a lake or a field, a house or trees, and grain.
printf '\0\0\010\004\0\0\0\002\0\0\0\360\0\0\001\100\0\0\0\003' >"$scratch/train-images-idx4-ubyte"
LC_ALL=C awk 'function abs(v) { return v < 0 ? -v : v }
function put(v) { v = int(v + grain); printf "%c", (v < 1 ? 1 : v > 255 ? 255 : v) }
function rgb(r, g, b) { put(r); put(g); put(b) }
function sky(x, y, k,    d, cloud) {
    d = sqrt((x - (k ? 70 : 250)) ^ 2 + (y - 50) ^ 2)
    cloud = 40 * sin(x / 29 + 3 * sin(y / 17)) * sin(y / 11 + k); if (cloud < 0) cloud = 0
    if (d < 22) { rgb(255, 236, k ? 150 : 190); return }
    rgb((k ? 235 : 105) - y / 3 + cloud + 900 / (d + 9), (k ? 150 : 165) + y / 4 + cloud, (k ? 120 : 235) - (k ? y / 3 : 0) + cloud)
}
function house(x, y) {
    if (y < 128) { rgb(150, 52, 40); return }
    if (x > 95 && x < 112 && y > 138 && y < 154) { rgb(250, 226, 120); return }
    if (x > 126 && x < 140 && y > 142) { rgb(84, 54, 34); return }
    rgb(226, 214, 190)
}
BEGIN {
    seed = 7
    for (k = 0; k < 2; k++) for (y = 0; y < 240; y++) for (x = 0; x < 320; x++) {
        seed = (seed * 1103 + 12345) % 65536
        grain = seed / 8192 - 4
        hill = 118 + 16 * sin(x / 41 + k * 2) + 7 * sin(x / 13); far = 96 + 14 * sin(x / 67 + 1 + k)
        if (!k && x > 80 && x < 152 && y > 104 && y < 172 && (y > 128 || abs(x - 116) < (y - 104) * 1.6)) house(x, y)
        else if (k && x % 64 > 18 && x % 64 < 46 && y > 84 && y < 178 && abs(x % 64 - 32) * 4 < (y - 84) % 34 + 8)
            rgb(24 + x % 7, 70 + y % 23, 38)
        else if (y < far) sky(x, y, k)
        else if (y < hill) rgb(96 + k * 30, 112, 138 - k * 20)
        else if (y < 176) rgb(70 + 20 * sin(x / 5) * sin(y / 4), 128 + 26 * sin(y / 9 + x / 31), 52)
        else if (k) rgb(196 + 22 * sin(y / 3), 168 + 18 * sin(y / 3 + x / 90), 70)
        else rgb(44 + 14 * sin(y + x / 9), 92 + 22 * sin(y / 2), 142 + 30 * sin(y / 2 + x / 23))
    }
}' >>"$scratch/train-images-idx4-ubyte"

for preset in $("$cleave" augment list | sed -n '/^presets:/,/^steps:/s/^  \([a-z0-9-]*\) .*/\1/p'); do
    own=$("$cleave" augment show "$preset" | sed -n 's/.* size=\([0-9]*\).*/\1/p' | head -n 1)
    data=$scratch/train-images-idx4-ubyte shape="--size 64" views=6
    [ "$own" -gt 64 ] || shape="--zoom 2"
    case $preset in eval*) views=1 ;; esac
    case $preset in *glyphs) data=recipes/data/glyphs.h5 ;; esac
    # shellcheck disable=SC2086
    "$cleave" augment preview "$data" --preset "$preset" --images 2 --views $views $shape -o "$folder/$preset.png"
done
