#!/usr/bin/env python3
"""Writes the small files of tensors in this folder and in tests/fuzz/corpus/tensors, as PyTorch and the safetensors
package write them.

    python3 -m venv env && env/bin/pip install torch numpy safetensors && env/bin/python make_files.py

Each holds the same tensors: see `tensors`. test_tensor_file.c knows their values by the same formulas."""
import argparse
import collections
import pathlib
import zipfile

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
CORPUS = HERE.parent.parent / "fuzz" / "corpus" / "tensors"

count = torch.arange(24, dtype=torch.float32)
tensors = collections.OrderedDict(
    single=(count / 8 - 1).reshape(2, 3, 4),
    twice=(count[:6].double() / 16).reshape(2, 3),
    half=torch.tensor([0.5, -2.0, 6e-8, 65504.0], dtype=torch.float16),
    brain=torch.tensor([1.0, -3.5], dtype=torch.bfloat16),
    whole=torch.tensor(7),
    bytes=torch.tensor([1, 2, 255], dtype=torch.uint8),
    truth=torch.tensor([True, False]),
    none=torch.zeros(0, 3),
)


def views():
    """What only .pth can say: strides, offsets, shared storages, parameters."""
    base = (count / 8 - 1).reshape(4, 6)
    out = collections.OrderedDict(tensors)
    out["turned"] = base.t()
    out["part"] = base[1:3, 2:5]
    out["repeated"] = torch.tensor([2.5]).expand(3)
    out["learnt"] = torch.nn.Parameter(torch.tensor([4.0, 5.0]))
    out._metadata = collections.OrderedDict([("", {"version": 2})])
    return out


def checkpoint():
    options = argparse.Namespace(lr=0.03, cos=True, milestones=[120, 160])
    return {"epoch": 199, "arch": "resnet18", "state_dict": views(), "opt": options, "best": 0.5, "big": 1 << 80,
            "optimizer": {"state": {0: {"momentum_buffer": count[:3].clone()}}, "param_groups": [{"params": [0, 1]}]},
            "shape": torch.Size([2, 3]), "seen": {1, 2}, "nothing": None}


def deflate(source, target):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            new.writestr(zipfile.ZipInfo(item.filename), old.read(item), zipfile.ZIP_DEFLATED)


CORPUS.mkdir(parents=True, exist_ok=True)
for protocol in (2, 4, 5):
    torch.save(checkpoint(), HERE / f"protocol{protocol}.pth", pickle_protocol=protocol)
deflate(HERE / "protocol2.pth", HERE / "deflated.pth")
torch.save(checkpoint(), HERE / "legacy.pth", _use_new_zipfile_serialization=False)
save_file(dict(tensors), HERE / "small.safetensors", metadata={"format": "pt", "arch": "resnet18"})
for name in ("protocol2.pth", "protocol4.pth", "deflated.pth", "small.safetensors"):
    (CORPUS / name).write_bytes((HERE / name).read_bytes())
