#!/bin/bash
# The real TensorBoard reads what a run wrote: scalars are the log's, histograms count every value, pictures decode.
# Needs Python with tensorboard: python3, or the interpreter that PYTHON names. Else skipped.
set -eu
python=${PYTHON:-python3}
"$python" -c 'import tensorboard' 2>/dev/null || {
    echo "skipped: $python has no tensorboard (set PYTHON)"
    exit 77
}
cleave=$(realpath "${CLEAVE:-build/release/cleave}")
source=$PWD
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cd "$home"
"$cleave" train "$source/recipes/moco-glyphs.yaml" "$source/recipes/data/glyphs.h5" --width 8 --stop-epoch 2 --knn-freq 1 \
    --tensorboard --results-dir run >/dev/null 2>&1
"$cleave" train "$source/recipes/moco-glyphs.yaml" "$source/recipes/data/glyphs.h5" --width 8 --stop-epoch 3 --knn-freq 1 \
    --tensorboard --results-dir run --resume auto >/dev/null 2>&1
"$python" - <<'END' || { echo "TensorBoard does not see what the log says"; exit 1; }
import json, math, struct
from tensorboard.backend.event_processing import event_accumulator as ea
from tensorboard.compat.proto import event_pb2
from google.protobuf import text_format
from tensorboard.plugins.projector import projector_config_pb2

a = ea.EventAccumulator("run", size_guidance={k: 0 for k in (ea.SCALARS, ea.HISTOGRAMS, ea.IMAGES, ea.TENSORS)})
a.Reload()
tags = a.Tags()
lines = [json.loads(line) for line in open("run/metrics.jsonl")]
steps = [l for l in lines if l["kind"] == "step"]
epochs = [l for l in lines if l["kind"] == "epoch"]

def same(tag, rows):
    want = [(l["total_step"], l[tag]) for l in rows if l.get(tag) is not None]
    got = [(s.step, s.value) for s in a.Scalars(tag)]
    assert [w[0] for w in want] == [g[0] for g in got], (tag, want, got)
    assert all(math.isclose(w[1], g[1], rel_tol=1e-6, abs_tol=1e-30) for w, g in zip(want, got)), (tag, want, got)

for tag in steps[0]:
    if "/" in tag: same(tag, steps)
for tag in ("val/knn_top1", "val/knn_best", "train/images_per_second"): same(tag, epochs)
assert set(tags["scalars"]) == {t for t in steps[0] if "/" in t} | {"val/knn_top1", "val/knn_best", "train/images_per_second"}
for name in ("scores/positive", "scores/negative"):
    for h, l in zip(a.Histograms(name), epochs):
        assert h.step == l["total_step"]
        assert h.histogram_value.num == sum(l[name + "_histogram"])
h = a.Histograms("weights/conv1.weight")
assert len(h) == 3 and h[0].histogram_value.num == 8 * 9 and sum(h[0].histogram_value.bucket) == 8 * 9
assert h[0].histogram_value.min < 0 < h[0].histogram_value.max
views = a.Images("train/views")
assert len(views) == 3 and views[0].height == 8 * 28 and views[0].width == 2 * 28
assert views[0].encoded_image_string[:8] == b"\x89PNG\r\n\x1a\n"

config = text_format.Parse(open("run/projector_config.pbtxt").read(), projector_config_pb2.ProjectorConfig())
e = config.embeddings[0]
rows = [line.split("\t") for line in open("run/" + e.tensor_path)]
labels = open("run/" + e.metadata_path).read().splitlines()
assert len(rows) + 1 == len(labels) and labels[0] == "class\tid"
png = open("run/" + e.sprite.image_path, "rb").read()
width, height = struct.unpack(">II", png[16:24])
side = e.sprite.single_image_dim[0]
assert width == height == side * math.ceil(math.sqrt(len(rows)))
END
