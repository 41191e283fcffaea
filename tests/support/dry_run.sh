#!/bin/sh
# Starts recipes as they are on generated pictures, and wants of each a plan and the memory it takes.
#   tests/support/dry_run.sh RECIPE.yaml...
set -eu
cleave=${CLEAVE:-build/release/cleave}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# 4200 pictures of 8x8 pixels, in CIFAR-100's and in MNIST's layout: enough for the largest batch; and sentences.
mkdir "$scratch/gray"
{
    printf '\0\0\010\003\0\0\020\150\0\0\0\010\0\0\0\010'
    head -c $((4200 * 64)) /dev/zero | tr '\0' '\144'
} >"$scratch/gray/train-images-idx3-ubyte"
{
    printf '\0\0\010\004\0\0\020\150\0\0\0\010\0\0\0\010\0\0\0\003'
    head -c $((4200 * 192)) /dev/zero | tr '\0' '\144'
} >"$scratch/train-images-idx4-ubyte"
awk 'BEGIN { printf "\\0\\0\\010\\001\\0\\0\\020\\150"; for (i = 0; i < 4200; i++) printf "\\%03o", i % 100 }' >"$scratch/labels"
printf "$(cat "$scratch/labels")" >"$scratch/gray/train-labels-idx1-ubyte"
cp "$scratch/gray/train-labels-idx1-ubyte" "$scratch/"

i=0
while [ $i -lt 600 ]; do
    printf 'Ann\tB-person\nBell\tI-person\nsees\tO\nOslo\tB-location\n.\tO\n\n'
    i=$((i + 1))
done >"$scratch/words.conll"

failed=0
for recipe; do
    data=$scratch
    case $recipe in *glyphs*|*mnist*) data=$scratch/gray ;; *tagging*) data=$scratch/words.conll ;; esac
    if ! "$cleave" train "$recipe" "$data" --dry-run --results-dir "$scratch/run" >"$scratch/out" 2>"$scratch/err" ||
       ! grep -q '^schedule: ' "$scratch/out" || ! grep -q '^memory in bytes: ' "$scratch/out" ||
       ! grep -q '^parameter: ' "$scratch/out"; then
        echo "$recipe:"
        sed 's/^/    /' "$scratch/err"
        failed=1
    fi
done
[ ! -e "$scratch/run" ] || { echo "a dry run wrote something"; failed=1; }
exit $failed
