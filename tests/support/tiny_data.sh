#!/bin/sh
# Makes a tiny data set: 160 gray images of 16x16 in four classes, as IDX files.
#   tests/support/tiny_data.sh FOLDER
set -eu
mkdir -p "$1"
{
    printf '\0\0\010\003\0\0\0\240\0\0\0\020\0\0\0\020'
    LC_ALL=C awk 'BEGIN {
        for (i = 0; i < 160; i++)
            for (p = 0; p < 256; p++) {
                noise = (noise * 1103 + 12345) % 65536
                printf "%c", 1 + (i % 4 * 50 + (p % (5 + i % 4) < 3 ? 100 : 0) + int(noise / 655)) % 255
            }
    }'
} >"$1/train-images-idx3-ubyte"
{
    printf '\0\0\010\001\0\0\0\240'
    i=0
    while [ $i -lt 40 ]; do printf '\0\1\2\3'; i=$((i + 1)); done
} >"$1/train-labels-idx1-ubyte"
