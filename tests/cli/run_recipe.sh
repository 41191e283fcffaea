#!/bin/sh
# A recipe for ImageNet is run as its header says: recipes/run.sh NAME FOLDER, with class folders of photographs, real
# sizes, and what little memory and few pictures ask for. Training, probe and report are there; the same line again
# finds nothing left to do.
set -eu
case ${BUILD:-} in ''|*/release) ;; *) echo "recipes of real size are run by the release build"; exit 77 ;; esac
command -v gnuplot >/dev/null || { echo "reports need gnuplot"; exit 77; }
source=$PWD
case ${CLEAVE:=build/release/cleave} in /*) ;; *) CLEAVE=$source/$CLEAVE ;; esac
export CLEAVE PROBE_FLAGS="--batch-size 4 --stop-epoch 1 --workers 1"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

# Contact sheets of computed landscapes are pictures like others, and larger than 224 pixels.
for split in train val; do
    for i in 1 2 3 4 5 6 7 8; do
        mkdir -p photos/$split/odd photos/$split/even
        [ $((i % 2)) = 0 ] && class=even || class=odd
        "$CLEAVE" augment preview --preset eval --images 1 --views 1 --seed $i -o photos/$split/$class/$i.png >/dev/null
    done
done

train() {
    sh "$source/recipes/run.sh" moco-v2plus-imagenet100 photos --batch-size 4 --micro-batch-size 2 --stop-epoch 1 --workers 1
}
train >out 2>err || { cat out err; exit 1; }
for file in moco-v2plus-imagenet100/last.h5 moco-v2plus-imagenet100/report.html moco-v2plus-imagenet100-linear/last.h5; do
    [ -s runs/$file ] || { echo "runs/$file is not there"; cat out err; exit 1; }
done
grep -q '"step": *2[,}]' runs/moco-v2plus-imagenet100/metrics.jsonl || { echo "no two steps"; cat runs/moco-v2plus-imagenet100/metrics.jsonl; exit 1; }
grep -q 'val/acc1' runs/moco-v2plus-imagenet100-linear/metrics.jsonl || { echo "the probe was not judged"; cat err; exit 1; }

before=$(cksum runs/*/last.h5)
train >out 2>err || { cat out err; exit 1; }
[ "$before" = "$(cksum runs/*/last.h5)" ] || { echo "what was done was done again"; cat err; exit 1; }
