#!/usr/bin/env python3
"""Writes optimizers.h5: four steps of every optimiser on four tensors, in float64.

    python3 -m venv env && env/bin/pip install torch numpy h5py && env/bin/python make.py

AdamW and SGD are PyTorch's. LARS and LAMB are worked out below from their formulas, tensor by tensor, with NumPy."""
import pathlib

import h5py
import numpy as np
import torch

STEPS = 4
SHAPES = {"a.weight": (5, 7), "b.weight": (33, 3), "c.bias": (6,), "d.zero": (2, 2)}
LR = [0.3, 0.2, 0.1, 0.05]
norm = np.linalg.norm


def excluded(p):
    return p.ndim <= 1


class Lars:
    def __init__(self, dialect, wd, momentum=0.9, nesterov=False, eta=0.001, clip=False, exclude=False, eps=1e-8):
        self.__dict__.update(locals())
        self.v = {}

    def step(self, name, w, g, lr):
        own = 1.0                                    # rate of this tensor
        d = g
        if self.dialect == "moco-v3" and not excluded(w):
            d = g + self.wd * w
            if norm(w) > 0 and norm(d) > 0:
                own = self.eta * norm(w) / norm(d)
        if self.dialect == "simclr" and not excluded(w):
            d = g + self.wd * w
            if norm(w) > 0 and norm(d) > 0:
                own = self.eta * norm(w) / norm(d)
        if self.dialect == "solo-learn" and not (self.exclude and excluded(w)) and norm(w) > 0 and norm(g) > 0:
            own = self.eta * norm(w) / (norm(g) + self.wd * norm(w) + self.eps)
            if self.clip:
                own = min(own / lr, 1)
            d = g + self.wd * w
        inside = lr * own if self.dialect == "simclr" else own
        v = self.v[name] = self.momentum * self.v.get(name, np.zeros_like(w)) + inside * d
        update = inside * d + self.momentum * v if self.nesterov else v
        return w - (update if self.dialect == "simclr" else lr * update)


class Lamb:
    def __init__(self, wd, beta1=0.9, beta2=0.999, eps=1e-6, no_decay=False, no_adaptation=False):
        self.__dict__.update(locals())
        self.m, self.v, self.t = {}, {}, {}

    def step(self, name, w, g, lr):
        zero = np.zeros_like(w)
        t = self.t[name] = self.t.get(name, 0) + 1
        m = self.m[name] = self.beta1 * self.m.get(name, zero) + (1 - self.beta1) * g
        v = self.v[name] = self.beta2 * self.v.get(name, zero) + (1 - self.beta2) * g * g
        u = m / (1 - self.beta1**t) / (np.sqrt(v / (1 - self.beta2**t)) + self.eps)
        if not (self.no_decay and excluded(w)):
            u = u + self.wd * w
        ratio = 1.0
        if not (self.no_adaptation and excluded(w)) and norm(w) > 0 and norm(u) > 0:
            ratio = norm(w) / norm(u)
        return w - lr * ratio * u


def by_hand(optimizer, start, gradients):
    w = {name: value.copy() for name, value in start.items()}
    for step in range(STEPS):
        for name in w:
            w[name] = optimizer.step(name, w[name], gradients[name][step], LR[step])
    return w


def by_torch(make, start, gradients, no_decay):
    w = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
    groups = [{"params": [p for p in w.values() if not (no_decay and p.ndim <= 1)]},
              {"params": [p for p in w.values() if no_decay and p.ndim <= 1], "weight_decay": 0.0}]
    optimizer = make([group for group in groups if group["params"]])
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LR[step]
        for name, p in w.items():
            p.grad = torch.tensor(gradients[name][step])
        optimizer.step()
    return {name: p.detach().numpy() for name, p in w.items()}


def main():
    rng = np.random.default_rng(7)
    start = {name: rng.standard_normal(shape).astype(np.float32).astype(np.float64) for name, shape in SHAPES.items()}
    start["d.zero"][:] = 0
    gradients = {name: rng.standard_normal((STEPS, *shape)).astype(np.float32).astype(np.float64)
                 for name, shape in SHAPES.items()}
    sgd = lambda nesterov: lambda p: torch.optim.SGD(p, lr=1, momentum=0.9, weight_decay=0.05, nesterov=nesterov)
    adamw = lambda **more: lambda p: torch.optim.AdamW(p, lr=1, weight_decay=0.05, **more)
    results = {
        "sgd": by_torch(sgd(False), start, gradients, False),
        "sgd-nesterov-exclude": by_torch(sgd(True), start, gradients, True),
        "adamw": by_torch(adamw(), start, gradients, False),
        "adamw-betas-exclude": by_torch(adamw(betas=(0.8, 0.95), eps=1e-3), start, gradients, True),
        "lars-moco-v3": by_hand(Lars("moco-v3", 0.05), start, gradients),
        "lars-moco-v3-nesterov": by_hand(Lars("moco-v3", 0.05, nesterov=True, eta=0.1), start, gradients),
        "lars-simclr": by_hand(Lars("simclr", 0.05), start, gradients),
        "lars-simclr-nesterov": by_hand(Lars("simclr", 0.05, nesterov=True, eta=0.1), start, gradients),
        "lars-solo-learn": by_hand(Lars("solo-learn", 0.05), start, gradients),
        "lars-solo-learn-clip": by_hand(Lars("solo-learn", 0.05, eta=0.02, clip=True, exclude=True), start, gradients),
        "lamb": by_hand(Lamb(0.05), start, gradients),
        "lamb-exclude": by_hand(Lamb(0.05, no_decay=True, no_adaptation=True), start, gradients),
    }
    with h5py.File(pathlib.Path(__file__).parent / "optimizers.h5", "w") as f:
        for name in SHAPES:
            f[f"start/{name}"] = start[name]
            f[f"gradient/{name}"] = gradients[name]
            for optimizer, w in results.items():
                f[f"{optimizer}/{name}"] = w[name]


main()
