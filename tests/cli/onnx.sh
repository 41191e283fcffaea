#!/bin/bash
# An exported ONNX model computes what the encoder does: onnxruntime's features against Cleave's, to 1e-4.
# Needs Python with numpy, onnx and onnxruntime: python3, or the interpreter that PYTHON names. Else skipped.
set -eu
cleave=${CLEAVE:-build/cleave}
case $cleave in /*) ;; *) cleave=$PWD/$cleave ;; esac
python=${PYTHON:-python3}
"$python" -c 'import numpy, onnx, onnxruntime' 2>/dev/null || {
    echo "skipped: $python has no numpy, onnx and onnxruntime (set PYTHON)"
    exit 77
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
sh tests/support/tiny_data.sh "$folder/data"
cd "$folder"

# train NAME LAYER FLAGS...: a short run, its features and its model.
train() {
    local name=$1 layer=$2
    shift 2
    "$cleave" train data --results-dir "$name" --size 16 --aug glyphs --batch-size 16 --moco-k 64 --moco-dim 16 \
        --epochs 1 --lr 0.001 --knn-freq 0 --eval-aug 'center-crop size=16 margin=1; normalize mean=0.4 std=0.3' "$@" >/dev/null 2>log ||
        { cat log; exit 1; }
    "$cleave" embed "$name" data --layer "$layer" -o "$name.npy" >/dev/null 2>log || { cat log; exit 1; }
    "$cleave" export "$name" --layer "$layer" -o "$name.onnx" >/dev/null
}
train plain backbone --arch resnet8 --width 8 --stem cifar
train head embedding --arch resnet18 --width 4 --mlp
train deep backbone --arch resnet50 --width 4

"$python" - <<'END'
import numpy, onnx, onnxruntime

with open("data/train-images-idx3-ubyte", "rb") as f:
    pixels = numpy.frombuffer(f.read()[16:], numpy.uint8).reshape(160, 1, 16, 16)
images = ((pixels / 255 - 0.4) / 0.3).astype(numpy.float32)
for name in ("plain", "head", "deep"):
    onnx.checker.check_model(name + ".onnx", full_check=True)
    model = onnxruntime.InferenceSession(name + ".onnx", providers=["CPUExecutionProvider"])
    want = numpy.load(name + ".npy")
    for n in (160, 1):                      # the batch may have any size
        (got,) = model.run(None, {"images": images[:n]})
        assert got.shape == want[:n].shape, (name, got.shape)
        error = float(abs(got - want[:n]).max())
        assert error <= 1e-4 * max(1, float(abs(want).max())), (name, error)
        print(f"{name}, batch {n}: features up to {float(abs(want).max()):.2f}, worst error {error:.1e}")
END
