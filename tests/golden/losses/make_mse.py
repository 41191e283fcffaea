#!/usr/bin/env python3
"""Writes mse.h5 (format cleave-golden-1, see docs/losses/README.md) beside this file.

Needs numpy and h5py. The value is computed per item in Python loops with math.fsum in float64, the gradient from its
closed form by numpy, which is compared with central differences of the value before anything is written.
"""
import math
import pathlib

import h5py
import numpy as np


def rows(prediction, target):
    flat = [(p.ravel().tolist(), t.ravel().tolist()) for p, t in zip(prediction, target)]
    return [math.fsum((x - y) ** 2 for x, y in zip(p, t)) / max(len(p), 1) for p, t in flat]


def value(prediction, target):
    return math.fsum(rows(prediction, target)) / max(len(prediction), 1)


def gradient(prediction, target, dtype=np.float64):
    return dtype(2) * (prediction.astype(dtype) - target.astype(dtype)) / dtype(max(prediction.size, 1))


def plain_f32(prediction, target):
    return float(np.mean((prediction.astype(np.float32) - target.astype(np.float32)) ** 2, dtype=np.float32))


def check(prediction, target):
    exact, step = gradient(prediction, target), 2.0 ** -8
    for index in np.ndindex(prediction.shape):
        up, down = prediction.copy(), prediction.copy()
        up[index] += step
        down[index] -= step
        slope = (value(up, target) - value(down, target)) / (2 * step)
        assert abs(slope - exact[index]) <= 1e-6 * max(1e-3, abs(exact).max()), (index, slope, exact[index])


def grid(x):
    """Multiples of 2^-12: exact in float32."""
    return np.round(np.asarray(x) * 4096) / 4096


CASES = [
    # name, shape, scale, note
    ("tiny_n2_d3", (2, 3), 1.0, ""),
    ("typical_n16_d48", (16, 48), 1.0, ""),
    ("pictures_n3_c2_h5_w7", (3, 2, 5, 7), 1.0, "everything but the batch is one dimension"),
    ("awkward_n7_d65", (7, 65), 3.0, ""),
    ("large_n5_d9", (5, 9), 1000.0, "values of thousands"),
    ("one_row_n1_d17", (1, 17), 1.0, ""),
    ("vector_n11", (11,), 1.0, "a value a row"),
]


def write(out, case, number):
    name, shape, scale, note = case
    rng = np.random.default_rng(4100 + number)
    prediction, target = (grid(rng.normal(size=shape) * scale) for _ in range(2))
    check(prediction, target)
    loss, grad = value(prediction, target), gradient(prediction, target)
    grad32 = gradient(prediction, target, np.float32).astype(np.float64)
    group = out.create_group(name)
    group.attrs.update({
        "loss": "mse", "variant": "mse", "kind": "loss",
        "reference": "float64 loops and closed-form gradient, make_mse.py",
        "fp32_loss_abs_err": abs(plain_f32(prediction, target) - loss),
        "fp32_grad_rel_err": float(abs(grad32 - grad).max() / max(abs(grad).max(), 1e-300)),
    })
    if note:
        group.attrs["note"] = note
    arrays = {"inputs/prediction": prediction, "inputs/target": target, "outputs/grad_prediction": grad,
              "outputs/per_row": np.array(rows(prediction.reshape(len(prediction), -1),
                                               target.reshape(len(target), -1)))}
    for path, data in arrays.items():
        group.create_dataset(path, data=data, chunks=True, compression="gzip")
    group.create_dataset("outputs/loss", data=float(loss))


def main():
    path = pathlib.Path(__file__).with_name("mse.h5")
    with h5py.File(path, "w") as out:
        out.attrs.update({"format": "cleave-golden-1", "loss": "mse"})
        for number, case in enumerate(CASES):
            write(out, case, number)


if __name__ == "__main__":
    main()
