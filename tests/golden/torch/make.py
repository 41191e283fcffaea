#!/usr/bin/env python3
"""Writes features.h5 and step.h5: what torchvision's networks and a step of MoCo v2 in PyTorch come to.

    python3 -m venv env && env/bin/pip install torch torchvision numpy h5py && env/bin/python make.py

Weights and pictures are not stored: they follow from a formula of their names (`numbers`), which test_torch.c computes,
too. Everything is computed in float64 from these float32 numbers, and stored as float32."""
import copy
import pathlib

import h5py
import numpy as np
import torch
import torchvision
from torchvision.models.resnet import BasicBlock, ResNet

HERE = pathlib.Path(__file__).parent
MASK = np.uint64(0xFFFFFFFFFFFFFFFF)


def numbers(name, count):
    """`count` float64 in [-1, 1): FNV-1a of the name, then splitmix64 at every place, its upper 24 bits."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def values(salt, name, shape):
    """A parameter: scaled as networks start, batch norm beside its start."""
    u = numbers(salt + name, int(np.prod(shape))).reshape(shape)
    if name.endswith("running_var"):
        u = 1 + 0.5 * u
    elif name.endswith("weight") and len(shape) == 1:
        u = 1 + 0.2 * u
    elif len(shape) == 1:
        u = 0.1 * u
    else:
        u = u * np.sqrt(3 / np.prod(shape[1:]))
    return torch.from_numpy(u.astype(np.float32).astype(np.float64))


def fill(net, salt):
    for name, tensor in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(values(salt, name, tuple(tensor.shape)))
    return net.double()


def images(name, n, side):
    return torch.from_numpy(2 * numbers(name, n * 3 * side * side).reshape(n, 3, side, side)).float().double()


def write_features(file):
    for arch in ("resnet18", "resnet50"):
        net = fill(getattr(torchvision.models, arch)(), arch + "/").eval()
        net.fc = torch.nn.Identity()
        with torch.no_grad():
            features = net(images("images", 2, 224))
        print(arch, float(features.abs().max()), float(features.std()))
        file[arch] = features.float().numpy()


# ---- a step of MoCo v2 on a ResNet-18 of width 4: stem 3x3, no max-pool ----

WIDTH, DIM, BANK, BATCH, SIDE = 4, 16, 64, 8, 16
T, M, LR, MOMENTUM, DECAY = 0.2, 0.99, 0.06, 0.9, 5e-4


class Narrow(ResNet):
    """torchvision's ResNet-18 of another width, with the first layer of MoCo's CIFAR demo and MoCo v2's head."""

    def __init__(self):
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.inplanes = WIDTH
        self.conv1 = torch.nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(WIDTH)
        self.maxpool = torch.nn.Identity()
        self.layer1 = self._make_layer(BasicBlock, WIDTH, 2)
        self.layer2 = self._make_layer(BasicBlock, 2 * WIDTH, 2, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 4 * WIDTH, 2, stride=2)
        self.layer4 = self._make_layer(BasicBlock, 8 * WIDTH, 2, stride=2)
        inner = 8 * WIDTH
        self.fc = torch.nn.Sequential(torch.nn.Linear(inner, inner), torch.nn.ReLU(), torch.nn.Linear(inner, DIM))


def step(salt, query, key, bank, gaps=None):
    """MoCo's forward pass, backward pass, SGD and queue: arXiv:1911.05722, algorithm 1."""
    first, second = images(salt + "first", BATCH, SIDE), images(salt + "second", BATCH, SIDE)
    optimizer = torch.optim.SGD(query.parameters(), LR, momentum=MOMENTUM, weight_decay=DECAY)
    with torch.no_grad():
        for k, q in zip(key.parameters(), query.parameters()):
            k.mul_(M).add_(q, alpha=1 - M)
        keys = torch.nn.functional.normalize(key(second), dim=1)
    if gaps is not None:
        for module in query.modules():
            if isinstance(module, torch.nn.ReLU):
                module.inplace = False
                module.register_forward_pre_hook(lambda _, x: gaps.append(float(x[0].detach().abs().min())))
    queries = torch.nn.functional.normalize(query(first), dim=1)
    logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ bank.T], 1) / T
    loss = torch.nn.functional.cross_entropy(logits, torch.zeros(BATCH, dtype=torch.long))
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in query.named_parameters()}
    optimizer.step()
    return loss, gradients, torch.cat([keys, bank[BATCH:]])


def write_step(file):
    bank = torch.from_numpy(numbers("bank", BANK * DIM).reshape(BANK, DIM))
    bank = torch.nn.functional.normalize(bank, dim=1).float().double()
    query, key = fill(Narrow(), "query/").train(), fill(Narrow(), "key/").train()
    # A ReLU's input within rounding of zero would let float32 decide whether a gradient passes: pictures without.
    best = (0.0, "")
    for i in range(40):
        gaps = []
        step(f"{i}/", copy.deepcopy(query), copy.deepcopy(key), bank, gaps)
        best = max(best, (min(gaps), f"{i}/"))
    print("smallest input of a ReLU:", best)
    loss, gradients, after = step(best[1], query, key, bank)
    file.attrs.update(salt=best[1], loss=float(loss.detach()), momentum=MOMENTUM, lr=LR, moco_m=M, moco_t=T, weight_decay=DECAY)
    file["bank_start"], file["bank"] = bank.float().numpy(), after.float().numpy()
    for name, tensor in gradients.items():
        file["gradient/" + name] = tensor.float().numpy()
    for group, net in (("query", query), ("key", key)):
        for name, tensor in net.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                file[f"{group}/{name}"] = tensor.float().numpy()
    print("loss", float(loss.detach()))


torch.manual_seed(0)
with h5py.File(HERE / "features.h5", "w") as out:
    write_features(out)
with h5py.File(HERE / "step.h5", "w", libver="earliest") as out:
    write_step(out)
