#!/bin/sh
# The demonstration behind `make demo`: trains a momentum encoder on real pictures without using their labels, compares its
# features with raw pixels and with the network before training, and writes a report.
#   DATA          empty: the shipped letters (recipes/data/glyphs.h5); fashion-mnist: Debian's package of that name;
#                 else a data set cleave reads (a folder of images in class folders is packed first)
#   DEMO_EPOCHS   fewer epochs than the recipe has, to look at the steps rather than at the result
#   DEMO_SEED     seed of the run (default 0)
set -eu
cd "$(dirname "$0")/.."
cleave=build/cleave
run=runs/demo
say() { echo "== $*" >&2; }

case ${DATA:-} in
'')            recipe=recipes/moco-glyphs.yaml data=recipes/data/glyphs.h5 ;;
fashion-mnist) sh mk/deps.sh fashion-mnist
               recipe=recipes/moco-fashion-mnist.yaml data=/usr/share/datasets/fashion-mnist ;;
*)             recipe=recipes/moco-folder.yaml data=$DATA
               if [ -d "$data" ] && ! ls "$data"/*-ubyte* "$data"/*.bin >/dev/null 2>&1; then
                   say "packing $data"
                   mkdir -p runs
                   $cleave pack "$data" -o runs/demo-data.h5 --size 64 --format raw
                   data=runs/demo-data.h5
               fi ;;
esac

say "training on $data (recipe $recipe)"
rm -rf "$run"
$cleave train "$recipe" "$data" --results-dir "$run" --seed "${DEMO_SEED:-0}" ${DEMO_EPOCHS:+--stop-epoch "$DEMO_EPOCHS"}

say "nearest neighbours on raw pixels, on the untrained and on the trained network"
knn() {
    line=$($cleave eval knn "$@")
    echo "$line" >&2
    echo "$line" | sed -n 's/^kNN top-1 \([0-9.]*\).*/\1/p'
}
cosine=$(knn --pixels "$data" --distance centred-cosine --knn-k 20 --knn-t 0.07)
l2=$(knn --pixels "$data" --distance l2 --knn-k 1)
pixels=$(printf '%s\n%s\n' "$cosine" "$l2" | sort -n | tail -n 1)
untrained=$(knn "$run/last.h5" "$data" --untrained --knn-k 20 --knn-t 0.07)
trained=$(knn "$run/last.h5" "$data" --knn-k 20 --knn-t 0.07)

say "writing the report"
$cleave report "$run" >/dev/null
echo "kNN top-1: raw pixels $pixels, untrained $untrained, trained $trained"
echo "$PWD/$run/report.html"
