#!/usr/bin/env python3
"""Writes presets.h5: what Pillow makes of small pictures by each preset as a whole, for the golden test of the presets.

    env/bin/python make_presets.py ../../../build/release/tests/golden/test_presets      # env as in make.py

The test program prints, for each case, the chain and what every step drew for it; the steps (steps.py) are applied here
with these numbers. Presets of more than 64 pixels are stored at 64; of their own size there is a hash (FNV-1a, 64 bits) of
the bytes, unless the chain blurs with a sampled Gaussian, which is only equal to a grey level. The pictures are those of
pixels.h5."""
import pathlib
import subprocess
import sys

import h5py
import numpy as np
from PIL import Image, ImageFilter, ImageOps

from steps import affine, center, crop, from_pil, gaussian_kernel, gray, jitter, to_pil

HERE = pathlib.Path(__file__).parent


def filters(options):
    return Image.BICUBIC if options["filter"] == "bicubic" else Image.BILINEAR


def blur(image, options, sigma):
    if options["mode"] == "pil":
        return image.filter(ImageFilter.GaussianBlur(radius=sigma))
    size = int(options["kernel-size"]) or image.size[1] // 10
    return to_pil(gaussian_kernel(from_pil(image), sigma, size // 2 * 2 + 1))


def apply(image, name, options, draw):
    if name == "random-resized-crop":
        return crop(image, draw, int(options["size"]), filters(options))
    if name == "center-crop":
        size, short = int(options["size"]), int(options["resize"])
        return center(image, size, short / size if short else float(options["margin"]), filters(options))
    if name == "flip":
        return ImageOps.mirror(image)
    if name == "color-jitter":
        return jitter(image, draw)
    if name == "grayscale":
        return gray(image)
    if name == "gaussian-blur":
        return blur(image, options, draw[0])
    if name == "solarize":
        return ImageOps.solarize(image, int(options["threshold"]))
    if name == "random-affine":
        return affine(image, draw, int(options["fill"]))
    raise SystemExit(f"no step {name} here")


def run(image, chain, draws, size=None):
    """The whole chain but normalize; `size` instead of the chain's own."""
    for step, drawn in zip(chain.split("; ")[:-1], draws.split(";")):
        name, *words = step.split(" ")
        options = dict(word.split("=", 1) for word in words)
        if size and "size" in options:
            options["size"] = size
        acts, *numbers = drawn.split(",")
        if acts == "1":
            image = apply(image, name, options, [float(n) for n in numbers])
    return from_pil(image)


def fnv(a):
    value = 14695981039346656037
    for byte in a.tobytes():
        value = (value ^ byte) * 1099511628211 & 0xffffffffffffffff
    return f"{value:016x}"


def main():
    cases = subprocess.run([sys.argv[1], "--draws"], check=True, capture_output=True, text=True).stdout
    with h5py.File(HERE / "pixels.h5") as f:
        pictures = {name: f["pictures"][name][()] for name in ("big", "small", "letter")}
    with h5py.File(HERE / "presets.h5", "w") as f:
        f.attrs["pillow"] = Image.__version__
        for line in cases.splitlines():
            name, picture, chain, own, draws = line.split("\t")
            image = to_pil(pictures[picture])
            g = f.create_group("cases/" + name)
            g.attrs.update({"picture": picture, "chain": chain, "draws": draws})
            g.create_dataset("output", data=run(image, chain, draws), compression="gzip")
            if "mode=kernel" not in chain:
                g.attrs["hash"] = fnv(run(image, chain, draws, int(own)))
    print(len(cases.splitlines()), "cases")


if __name__ == "__main__":
    main()
