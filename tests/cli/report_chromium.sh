#!/bin/bash
# Trains for two short epochs, writes the report and opens it in a browser without a network: it must show its sections,
# say nothing on the console and ask for nothing that is not in the file.
set -eu
command -v chromium >/dev/null || { echo "skipped: chromium is not installed"; exit 77; }
command -v gnuplot >/dev/null || { echo "skipped: gnuplot is not installed"; exit 77; }
cleave=${CLEAVE:-build/cleave}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# 64 pictures of 16 x 16 in four classes, in the format of MNIST: any bytes will do as pixels.
data=$work/data
mkdir "$data"
{ printf '\0\0\010\003\0\0\0\100\0\0\0\020\0\0\0\020'; head -c 16384 "$cleave"; } >"$data/train-images-idx3-ubyte"
{ printf '\0\0\010\001\0\0\0\100'; for _ in $(seq 16); do printf '\0\1\2\3'; done; } >"$data/train-labels-idx1-ubyte"
"$cleave" train "$data" --arch resnet8 --aug glyphs --size 16 --batch-size 16 --moco-k 32 --epochs 2 --print-freq 1 \
    --results-dir "$work/run" >/dev/null
"$cleave" report "$work/run" >"$work/said"
[ "$(cat "$work/said")" = "$work/run/report.html" ]

browse() {      # browse NAME PAGE: leaves NAME.dom, NAME.console and NAME.requests, the last two empty when all is well
    chromium --headless=new --no-sandbox --disable-gpu --no-first-run --disable-extensions --user-data-dir="$work/profile" \
        --host-resolver-rules='MAP * ~NOTFOUND' --log-net-log="$work/net.json" --enable-logging=stderr \
        --virtual-time-budget=5000 --dump-dom "file://$2" >"$work/$1.dom" 2>"$work/stderr"
    grep ':CONSOLE' "$work/stderr" >"$work/$1.console" || true
    # The browser's own requests, of which it makes some, have no origin.
    grep '"initiator":' "$work/net.json" | grep -v '"initiator":"not an origin"' >"$work/$1.requests" || true
}

# A page that does load something and does complain shows that this test can fail.
printf '%s' '<!DOCTYPE html><title>x</title><img src="http://example.invalid/x.png"><script>console.error("oh")</script>' \
    >"$work/loud.html"
browse loud "$work/loud.html"
grep -q 'example.invalid/x.png' "$work/loud.requests"
grep -q '"oh"' "$work/loud.console"

browse report "$work/run/report.html"
for wanted in 'best kNN accuracy' 'Learning rate' 'Positive scores' 'Nearest neighbours' 'data:image/png;base64,' \
    'Principal components' 'moco-k'; do
    grep -qF "$wanted" "$work/report.dom" || { echo "the page does not show: $wanted"; exit 1; }
done
if [ -s "$work/report.console" ] || [ -s "$work/report.requests" ]; then
    echo "the page complains or loads something:"
    cat "$work/report.console" "$work/report.requests"
    exit 1
fi
