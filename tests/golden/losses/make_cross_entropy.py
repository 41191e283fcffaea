#!/usr/bin/env python3
"""Writes cross_entropy.h5 (format cleave-golden-1, see docs/losses/README.md) beside this file.

Needs numpy and h5py. Values are computed in float64 twice, from two forms of the formula that share no code:
  value      per item in Python loops with math.fsum, log-probabilities from log1p of the other classes' odds
  gradient   the closed form softmax(x) (sum of target masses) - target masses, by numpy
and the closed form is compared with central differences of the value before anything is written.
"""
import math
import pathlib

import h5py
import numpy as np


def log_prob(row, c):
    """log softmax(row)[c]: minus the log of 1 + the odds of all other classes, the largest logit taken out if larger."""
    gaps = [x - row[c] for k, x in enumerate(row) if k != c]
    top = max(gaps, default=0.0)
    if top <= 0:
        return -math.log1p(math.fsum(math.exp(d) for d in gaps))
    return -(top + math.log(math.exp(-top) + math.fsum(math.exp(d - top) for d in gaps)))


def rows(logits, targets, weight, eps, ignore):
    result = []
    for row, y in zip(logits.tolist(), targets.tolist()):
        if y == ignore or y < 0:
            result.append(0.0)
            continue
        n = len(row)
        terms = [-(1 - eps) * weight[y] * log_prob(row, y)]
        terms += [-eps / n * weight[c] * log_prob(row, c) for c in range(n) if eps > 0]
        result.append(math.fsum(terms))
    return result


def divisor(targets, weight, ignore, reduction):
    if reduction == "sum":
        return 1.0
    total = math.fsum(weight[y] for y in targets.tolist() if y != ignore and y >= 0)
    return total if total > 0 else 1.0


def value(logits, targets, weight, eps, ignore, reduction):
    return math.fsum(rows(logits, targets, weight, eps, ignore)) / divisor(targets, weight, ignore, reduction)


def gradient(logits, targets, weight, eps, ignore, reduction, dtype=np.float64):
    x = logits.astype(dtype)
    w = np.asarray(weight, dtype)
    n, classes = x.shape
    counts = (targets != ignore) & (targets >= 0)
    mass = np.tile(dtype(eps) / dtype(max(classes, 1)) * w, (n, 1))
    mass[np.arange(n)[counts], targets[counts]] += (dtype(1) - dtype(eps)) * w[targets[counts]]
    mass[~counts] = 0
    shifted = np.exp(x - x.max(axis=1, keepdims=True))
    p = shifted / shifted.sum(axis=1, keepdims=True)
    total = w[targets[counts]].sum() if reduction == "mean" else dtype(1)
    return (p * mass.sum(axis=1, keepdims=True) - mass) / (total if total > 0 else dtype(1))


def plain_f32(logits, targets, weight, eps, ignore, reduction):
    """The value as an ordinary float32 program finds it."""
    x = logits.astype(np.float32)
    w = np.asarray(weight, np.float32)
    shifted = x - x.max(axis=1, keepdims=True)
    logp = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    counts = (targets != ignore) & (targets >= 0)
    y = targets[counts]
    each = -np.float32(1 - eps) * w[y] * logp[counts, y] - np.float32(eps / x.shape[1]) * (logp[counts] * w).sum(axis=1)
    total = w[y].sum() if reduction == "mean" else np.float32(1)
    return float(each.sum(dtype=np.float32) / (total if total > 0 else 1))


def check(logits, args):
    exact = gradient(logits, *args)
    step = 2.0 ** -14
    for index in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[index] += step
        down[index] -= step
        slope = (value(up, *args) - value(down, *args)) / (2 * step)
        assert abs(slope - exact[index]) <= 1e-7 * max(1.0, abs(exact).max()), (index, slope, exact[index])


def grid(x):
    """Multiples of 2^-12: exact in float32."""
    return np.round(np.asarray(x) * 4096) / 4096


CASES = [
    # name, items, classes, scale of the logits, label smoothing, class weights, ignore, reduction, note
    ("tiny_n2_c3", 2, 3, 2.0, 0.0, False, -100, "mean", ""),
    ("typical_n64_c100", 64, 100, 3.0, 0.0, False, -100, "mean", ""),
    ("smoothed_n32_c10", 32, 10, 3.0, 0.1, False, -100, "mean", ""),
    ("weighted_n17_c7", 17, 7, 3.0, 0.0, True, -100, "mean", "the mean divides by the weights of the targets"),
    ("smoothed_weighted_ignored_n23_c9", 23, 9, 3.0, 0.25, True, 3, "mean", "class 3 is left out, as is target -100"),
    ("smoothed_sum_n12_c5", 12, 5, 3.0, 0.5, False, -100, "sum", ""),
    ("saturated_n16_c8", 16, 8, 2000.0, 0.1, False, -100, "mean", "logits of thousands"),
    ("all_ignored_n4_c6", 4, 6, 2.0, 0.1, True, -100, "mean", "nothing counts: 0, with gradient 0"),
    ("one_class_n3_c1", 3, 1, 2.0, 0.1, False, -100, "mean", "a single class: 0, with gradient 0"),
    ("offset_n8_c33", 8, 33, 1.0, 0.1, False, -100, "mean", "all logits near 10000"),
]


def write(out, case, number):
    name, n, classes, scale, eps, weighted, ignore, reduction, note = case
    rng = np.random.default_rng(20240 + number)
    logits = grid(rng.normal(size=(n, classes)) * scale + (10000 if name.startswith("offset") else 0))
    targets = rng.integers(0, classes, size=n)
    if "ignored" in name:
        targets[:: 5] = -100
        if name.startswith("all"):
            targets[:] = -100
    weight = grid(rng.uniform(0.25, 2.0, size=classes)) if weighted else np.ones(classes)
    args = (targets, weight.tolist(), eps, ignore, reduction)
    check(logits, args)
    loss, grad = value(logits, *args), gradient(logits, *args)
    grad32 = gradient(logits, *args, dtype=np.float32).astype(np.float64)
    group = out.create_group(name)
    group.attrs.update({
        "loss": "cross_entropy", "variant": "hard", "kind": "loss", "label_smoothing": float(eps),
        "ignore_index": np.int64(ignore), "reduction": reduction,
        "reference": "float64 loops and closed-form gradient, make_cross_entropy.py",
        "fp32_loss_abs_err": abs(plain_f32(logits, *args) - loss),
        "fp32_grad_rel_err": float(abs(grad32 - grad).max() / max(abs(grad).max(), 1e-300)),
    })
    if note:
        group.attrs["note"] = note
    arrays = {"inputs/logits": logits, "inputs/targets": targets.astype(np.int64), "outputs/grad_logits": grad,
              "outputs/per_row": np.array(rows(logits, *args[:4]))}
    if weighted:
        arrays["inputs/weight"] = weight
    for path, data in arrays.items():
        group.create_dataset(path, data=data, chunks=True, compression="gzip")
    group.create_dataset("outputs/loss", data=float(loss))


# The variant soft: a weight of each class for each item. The value in Python loops, the gradient in closed form.

def soft_rows(logits, targets, weight, eps):
    n = logits.shape[1]
    return [math.fsum(-weight[c] * ((1 - eps) * t[c] + eps / n) * log_prob(row, c) for c in range(n))
            for row, t in zip(logits.tolist(), targets.tolist())]


def soft_value(logits, targets, weight, eps, reduction):
    return math.fsum(soft_rows(logits, targets, weight, eps)) / (len(logits) if reduction == "mean" else 1)


def soft_gradient(logits, targets, weight, eps, reduction, dtype=np.float64):
    x = logits.astype(dtype)
    mass = ((dtype(1) - dtype(eps)) * targets.astype(dtype) + dtype(eps) / dtype(x.shape[1])) * np.asarray(weight, dtype)
    shifted = np.exp(x - x.max(axis=1, keepdims=True))
    p = shifted / shifted.sum(axis=1, keepdims=True)
    return (p * mass.sum(axis=1, keepdims=True) - mass) / dtype(len(x) if reduction == "mean" else 1)


SOFT = [
    # name, items, classes, scale of the logits, label smoothing, class weights, reduction, kind of targets
    ("soft_mixed_n16_c10", 16, 10, 3.0, 0.0, False, "mean", "mixed"),
    ("soft_mixed_smoothed_n16_c10", 16, 10, 3.0, 0.1, False, "mean", "mixed"),
    ("soft_dense_weighted_sum_n7_c5", 7, 5, 2.0, 0.25, True, "sum", "dense"),
    ("soft_saturated_n8_c6", 8, 6, 2000.0, 0.1, False, "mean", "mixed"),
]


def write_soft(out, case, number):
    name, n, classes, scale, eps, weighted, reduction, kind = case
    rng = np.random.default_rng(20340 + number)
    logits = grid(rng.normal(size=(n, classes)) * scale)
    eye = np.eye(classes)[rng.integers(0, classes, size=n)]
    targets = 0.75 * eye + 0.25 * eye[::-1] if kind == "mixed" else rng.multinomial(64, [1 / classes] * classes, n) / 64
    weight = grid(rng.uniform(0.25, 2.0, size=classes)) if weighted else np.ones(classes)
    args = (targets, weight.tolist(), eps, reduction)
    loss, grad, step = soft_value(logits, *args), soft_gradient(logits, *args), 2.0 ** -14
    for index in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[index] += step
        down[index] -= step
        slope = (soft_value(up, *args) - soft_value(down, *args)) / (2 * step)
        assert abs(slope - grad[index]) <= 1e-7 * max(1.0, abs(grad).max()), (index, slope, grad[index])
    x = logits.astype(np.float32) - logits.astype(np.float32).max(axis=1, keepdims=True)
    logp = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    mass = (np.float32(1 - eps) * targets.astype(np.float32) + np.float32(eps / classes)) * weight.astype(np.float32)
    loss32 = float(-(mass * logp).sum(dtype=np.float32)) / (n if reduction == "mean" else 1)
    grad32 = soft_gradient(logits, *args, dtype=np.float32).astype(np.float64)
    group = out.create_group(name)
    group.attrs.update({
        "loss": "cross_entropy", "variant": "soft", "kind": "loss", "label_smoothing": float(eps),
        "reduction": reduction, "reference": "float64 loops and closed-form gradient, make_cross_entropy.py",
        "fp32_loss_abs_err": abs(loss32 - loss),
        "fp32_grad_rel_err": float(abs(grad32 - grad).max() / abs(grad).max()),
    })
    arrays = {"inputs/logits": logits, "inputs/targets": targets, "outputs/grad_logits": grad,
              "outputs/per_row": np.array(soft_rows(logits, *args[:3]))}
    if weighted:
        arrays["inputs/weight"] = weight
    for path, data in arrays.items():
        group.create_dataset(path, data=data, chunks=True, compression="gzip")
    group.create_dataset("outputs/loss", data=float(loss))


def main():
    path = pathlib.Path(__file__).with_name("cross_entropy.h5")
    with h5py.File(path, "w") as out:
        out.attrs.update({"format": "cleave-golden-1", "loss": "cross_entropy"})
        for number, case in enumerate(CASES):
            write(out, case, number)
        for number, case in enumerate(SOFT):
            write_soft(out, case, number)


if __name__ == "__main__":
    main()
