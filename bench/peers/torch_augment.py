"""The chains of bench/bench_augment.c by torchvision on Pillow pictures, one thread.

torch_augment.py (--check FILE | --serve PRESET)

--check compares the view that Cleave's preset `eval` exported with torchvision's; --serve answers each line with the
seconds of a view of `moco-v2`, `moco-cifar` or `eval`.
"""
import argparse
import random
import sys
import time

import numpy as np
import torch
from PIL import Image, ImageFilter
from torchvision import transforms as T

from torch_step import read_records

# Pillow 13 resizes tall pictures along the height first, and rounds to bytes in between.
LEVELS = 1.01


class Blur:
    def __call__(self, picture):
        return picture.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


def chain(preset):
    imagenet = T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    cifar = T.Normalize([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])
    jitter = T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8)
    if preset == "eval":
        return T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor(), imagenet])
    if preset == "moco-cifar":
        return T.Compose([T.RandomResizedCrop(32), T.RandomHorizontalFlip(), jitter, T.RandomGrayscale(0.2),
                          T.ToTensor(), cifar])
    if preset == "moco-v2":
        return T.Compose([T.RandomResizedCrop(224, scale=(0.2, 1.0)), jitter, T.RandomGrayscale(0.2),
                          T.RandomApply([Blur()], p=0.5), T.RandomHorizontalFlip(), T.ToTensor(), imagenet])
    sys.exit(f"no chain for '{preset}'")


def picture(height, width):
    x = np.arange(height * width * 3) % (width * 3)
    noise = np.random.default_rng(1).integers(0, 32, height * width * 3)
    return Image.fromarray((128 + 90 * np.sin(x * 0.02) + noise).astype(np.uint8).reshape(height, width, 3))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check")
    parser.add_argument("--serve")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.check:
        records = read_records(args.check)
        want = chain("eval")(Image.fromarray(records["picture"].numpy().astype(np.uint8)))
        levels = (want.permute(1, 2, 0).numpy() - records["view"].numpy()) * [0.229, 0.224, 0.225] * 255
        error = np.abs(levels).max()
        print(f"largest difference of a view from torchvision's: {error:.2f} grey levels")
        if not error <= LEVELS:
            sys.exit("these are not the same views")
        return
    small = args.serve == "moco-cifar"
    transform, image, views = chain(args.serve), picture(*((32, 32) if small else (375, 500))), 500 if small else 10
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(views):
            transform(image)
        print(f"{(time.perf_counter() - start) / views:.9f}", flush=True)


if __name__ == "__main__":
    main()
