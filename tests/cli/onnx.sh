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
mkdir "$folder/data"
cd "$folder"
"$python" - <<'END'
import numpy

rng = numpy.random.default_rng(1)
pixels = rng.integers(0, 256, (48, 32, 32), numpy.uint8)
with open("data/train-images-idx3-ubyte", "wb") as f:
    f.write(numpy.array([2051, 48, 32, 32], ">i4").tobytes() + pixels.tobytes())
with open("data/train-labels-idx1-ubyte", "wb") as f:
    f.write(numpy.array([2049, 48], ">i4").tobytes() + bytes(48))
END

# Weights as a long training might leave them: what starts at 0, 1 or 1e-6 would hide a mistake.
cat >wild.py <<'END'
import json, sys, numpy

name = sys.argv[1]
raw = bytearray(open(name, "rb").read())
size = int.from_bytes(raw[:8], "little")
rng = numpy.random.default_rng(2)
for key, entry in json.loads(raw[8:8 + size]).items():
    if key == "__metadata__":
        continue
    begin, end = (8 + size + at for at in entry["data_offsets"])
    values = numpy.frombuffer(raw[begin:end], numpy.float32)
    noise = rng.standard_normal(values.shape).astype(numpy.float32)
    if key.endswith("layer_scale"):
        values = 0.5 + 0.1 * noise
    elif key.endswith("running_var"):
        values = values * (1 + 0.1 * noise) ** 2
    elif len(entry["shape"]) == 1:
        values = values + 0.1 * noise
    raw[begin:end] = values.astype(numpy.float32).tobytes()
open(name, "wb").write(raw)
END

# train NAME LAYER FLAGS...: a short run; features and model of its weights, changed.
train() {
    local name=$1 layer=$2
    shift 2
    "$cleave" train data --results-dir "$name" --size 32 --aug glyphs --batch-size 16 --moco-k 16 --moco-dim 16 \
        --epochs 1 --lr 0.001 --knn-freq 0 --eval-aug 'center-crop size=32 margin=1; normalize mean=0.4 std=0.3' "$@" \
        >/dev/null 2>log || { cat log; exit 1; }
    "$cleave" export "$name" --layer "$layer" -o "$name.safetensors" >/dev/null
    "$python" wild.py "$name.safetensors"
    "$cleave" embed data --weights "$name.safetensors" --layer "$layer" -o "$name.npy" >/dev/null 2>log ||
        { cat log; exit 1; }
    "$cleave" export --weights "$name.safetensors" --layer "$layer" -o "$name.onnx" >/dev/null 2>log ||
        { cat log; exit 1; }
}
train plain backbone --arch resnet8 --width 8 --stem cifar
train head embedding --arch resnet18 --width 4 --mlp
train deep backbone --arch resnet50 --width 4
train vit backbone --arch vit_small --width 48 --patch 8
train convnext backbone --arch convnext_tiny --width 8
train face backbone --arch iresnet18 --width 4
train few backbone --arch resnet12 --width 4

"$python" - <<'END'
import numpy, onnx, onnxruntime

with open("data/train-images-idx3-ubyte", "rb") as f:
    pixels = numpy.frombuffer(f.read()[16:], numpy.uint8).reshape(48, 1, 32, 32)
images = ((pixels / 255 - 0.4) / 0.3).astype(numpy.float32)
for name in ("plain", "head", "deep", "vit", "convnext", "face", "few"):
    onnx.checker.check_model(name + ".onnx", full_check=True)
    model = onnxruntime.InferenceSession(name + ".onnx", providers=["CPUExecutionProvider"])
    want = numpy.load(name + ".npy")
    for n in (48, 1):                      # the batch may have any size
        (got,) = model.run(None, {"images": images[:n]})
        assert got.shape == want[:n].shape, (name, got.shape)
        error = float(abs(got - want[:n]).max())
        assert error <= 1e-4 * max(1, float(abs(want).max())), (name, error)
        print(f"{name}, batch {n}: features up to {float(abs(want).max()):.2f}, worst error {error:.1e}")
END
