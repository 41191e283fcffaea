#!/usr/bin/env python3
"""Writes pixels.h5: what Pillow makes of small pictures, for the golden test of the augmentations.

    python3 -m venv env && env/bin/pip install pillow==10.4.0 numpy h5py && env/bin/python make.py

Each group is a case: the picture, the step as text, the numbers its draw function would have left (the order is that of
the structs in augment/draws.h), and the bytes that come out. steps.py has the steps themselves."""
import pathlib

import h5py
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from steps import (affine, center, crop, erase, from_pil, gaussian_kernel, gray, hue, jitter, picture, rng, to_pil)

big = picture(75, 100, 3, "noisy")
wide = picture(30, 41, 3, "noisy")
tall = picture(61, 23, 3, "smooth")
small = picture(32, 32, 3, "noisy")
letter = picture(28, 28, 1, "smooth")
dot = picture(1, 1, 3, "smooth")
line = picture(3, 5, 3, "noisy")
colours = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
colours[:4] = colours[:4] // 64 * 64                   # greys and ties between channels
colours[4:6] = colours[4:6, :, :1]

cases = []


def case(name, image, step, draw, result):
    cases.append((name, image, step, np.asarray(draw, dtype=np.float64), result))


for i, (image, draw, size) in enumerate([
        (big, (3, 7, 60, 80), 32), (big, (10, 20, 9, 12), 32), (big, (0, 0, 75, 100), 24), (big, (5, 0, 31, 37), 37),
        (tall, (0, 0, 61, 23), 28), (small, (4, 3, 25, 27), 32), (small, (0, 0, 32, 32), 32), (letter, (2, 1, 22, 25), 28),
        (dot, (0, 0, 1, 1), 8), (line, (0, 1, 3, 4), 16), (line, (2, 4, 1, 1), 3), (big, (0, 0, 75, 100), 1)]):
    case(f"crop_{i}", image, f"random-resized-crop size={size}", draw, from_pil(crop(to_pil(image), draw, size)))
for i, (image, size, margin) in enumerate([(big, 28, 8 / 7), (tall, 16, 1), (small, 32, 1), (letter, 28, 1.25),
                                           (line, 8, 8 / 7), (dot, 4, 1)]):
    case(f"center_{i}", image, f"center-crop size={size} margin={margin!r}", (),
         from_pil(center(to_pil(image), size, margin)))
for i in range(16):
    image = (colours, wide, small, letter)[i % 4]
    order = rng.permutation(4)
    factor = [rng.uniform(0.1, 1.9), rng.uniform(0.1, 1.9), rng.uniform(0.1, 1.9), rng.uniform(-0.5, 0.5)]
    draw = [*order, *factor]
    case(f"jitter_{i}", image, "color-jitter", draw, from_pil(jitter(to_pil(image), draw)))
for part in range(4):
    for i, value in enumerate([(0.0, 1.7), (0.0, 1.7), (0.0, 2.5), (-0.1, 0.5)][part]):
        draw = [part, (part + 1) % 4, (part + 2) % 4, (part + 3) % 4, 1.0, 1.0, 1.0, 0.0]
        draw[4 + part] = value
        names = ["brightness", "contrast", "saturation", "hue"]
        step = "color-jitter " + " ".join(f"{n}={0.1 if k == part else 0}" for k, n in enumerate(names))
        only = {0: lambda im: ImageEnhance.Brightness(im).enhance(value),
                1: lambda im: ImageEnhance.Contrast(im).enhance(value),
                2: lambda im: ImageEnhance.Color(im).enhance(value), 3: lambda im: hue(im, value)}[part]
        case(f"{names[part]}_{i}", colours, step, draw, from_pil(only(to_pil(colours))))
case("gray", colours, "grayscale", (), from_pil(gray(to_pil(colours))))
case("flip", wide, "flip", (), from_pil(ImageOps.mirror(to_pil(wide))))
for i, (image, threshold) in enumerate([(colours, 128), (letter, 0), (small, 256)]):
    case(f"solarize_{i}", image, f"solarize threshold={threshold}", (),
         from_pil(ImageOps.solarize(to_pil(image), threshold)))
for i, (image, sigma) in enumerate([(wide, 0.1), (wide, 2.0), (small, 0.7), (tall, 1.3), (letter, 5.0), (line, 2.0),
                                    (dot, 1.0), (small, 16.0)]):
    case(f"blur_pil_{i}", image, "gaussian-blur mode=pil", (sigma,),
         from_pil(to_pil(image).filter(ImageFilter.GaussianBlur(radius=sigma))))
for i, (image, sigma, size) in enumerate([(wide, 0.1, 7), (wide, 2.0, 7), (small, 1.1, 3), (letter, 1.7, 23)]):
    case(f"blur_kernel_{i}", image, f"gaussian-blur mode=kernel kernel-size={size}", (sigma,),
         gaussian_kernel(image, sigma, size))
for i, (image, draw, fill) in enumerate([
        (letter, (17.0, 2, -1, 1.1, 9.0, -5.0), 0), (letter, (-25.0, -3, 3, 0.85, -12.0, 12.0), 0),
        (wide, (180.0, 10, 0, 2.0, 0.0, 0.0), 90), (tall, (5.0, 0, 0, 0.5, 20.0, 0.0), 255),
        (small, (0.0, 0, 0, 1.0, 0.0, 0.0), 7), (dot, (45.0, 0, 0, 1.0, 0.0, 0.0), 3)]):
    case(f"affine_{i}", image, f"random-affine fill={fill}", draw, from_pil(affine(to_pil(image), draw, fill)))

boxes = [(big, (3, 7, 60, 80), 32), (big, (10, 20, 9, 12), 32), (big, (5, 0, 31, 37), 37), (tall, (0, 0, 61, 23), 28),
         (colours, (0, 0, 32, 32), 11), (letter, (2, 1, 22, 25), 28), (dot, (0, 0, 1, 1), 8), (line, (0, 1, 3, 4), 16)]
for i, (image, draw, size) in enumerate(boxes):
    case(f"crop_bicubic_{i}", image, f"random-resized-crop size={size} filter=bicubic", draw,
         from_pil(crop(to_pil(image), draw, size, Image.BICUBIC)))
for i, (image, size, short) in enumerate([(big, 28, 32), (tall, 16, 16), (line, 8, 9)]):
    case(f"center_bicubic_{i}", image, f"center-crop size={size} resize={short} filter=bicubic", (),
         from_pil(center(to_pil(image), size, short / size, Image.BICUBIC)))
for i, (image, draw, fill) in enumerate([(wide, (3, 5, 20, 30), [0, 124, 255]), (letter, (0, 0, 27, 1), [9]),
                                         (small, (31, 31, 1, 1), [77]), (line, (0, 0, 0, 3), [0])]):
    case(f"erase_{i}", image, f"random-erasing fill={','.join(map(str, fill))}", draw, erase(image, draw, fill))

mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
chain = from_pil(center(to_pil(big), 12, 8 / 7)).astype(np.float32) / np.float32(255)
chain = (chain - mean) / std

pictures = {"big": big, "wide": wide, "tall": tall, "small": small, "letter": letter, "dot": dot, "line": line,
            "colours": colours}
with h5py.File(pathlib.Path(__file__).with_name("pixels.h5"), "w", libver="latest") as f:
    f.attrs["pillow"] = __import__("PIL").__version__
    for name, image in pictures.items():
        f.create_dataset("pictures/" + name, data=image)
    for name, image, step, draw, result in cases:
        g = f.create_group("cases/" + name)
        g.attrs["step"] = step
        g.attrs["picture"] = next(n for n, p in pictures.items() if p is image)
        g.attrs["draw"] = draw if len(draw) else np.zeros(1)
        g.create_dataset("output", data=result)
    g = f.create_group("chain")
    g.attrs["text"] = "eval"
    g.attrs["size"] = "12"
    g.attrs["picture"] = "big"
    g.create_dataset("output", data=chain)
print(len(cases), "cases")
