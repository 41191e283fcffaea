"""The steps of the augmentations on Pillow pictures, as torchvision's functional transforms do them; what make.py and
make_presets.py share. `gaussian_kernel` is the only one that Pillow does not compute."""
import math

import numpy as np
from PIL import Image, ImageEnhance

rng = np.random.default_rng(20)


def picture(height, width, channels, kind):
    """Smooth colour with edges and noise, so that rounding, clipping and antialiasing all matter."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    planes = []
    for c in range(channels):
        wave = 127 + 120 * np.sin(7 * x * (c + 1) + 5 * y + c)
        noise = rng.integers(-60, 61, (height, width)) if kind == "noisy" else 0
        box = 90 * ((x > 0.3) & (x < 0.5) & (y > 0.2)) * (1 if c != 1 else -1)
        planes.append(np.clip(wave + noise + box, 0, 255).astype(np.uint8))
    return np.stack(planes, axis=-1)


def to_pil(a):
    return Image.fromarray(a[:, :, 0] if a.shape[2] == 1 else a)


def from_pil(image):
    a = np.asarray(image)
    return a[:, :, None] if a.ndim == 2 else a


def crop(image, draw, size, how=Image.BILINEAR):
    y, x, h, w = (int(v) for v in draw)
    return image.crop((x, y, x + w, y + h)).resize((size, size), how)


def center(image, size, margin, how=Image.BILINEAR):
    w, h = image.size
    short = round(size * margin)
    new = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
    image = image.resize(new, how)
    left, top = int(round((new[0] - size) / 2.0)), int(round((new[1] - size) / 2.0))
    return image.crop((left, top, left + size, top + size))


def hue(image, turns):
    if image.mode == "L":
        return image
    h, s, v = image.convert("HSV").split()
    h = np.array(h, dtype=np.uint8)
    h += np.int32(turns * 255).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(h), s, v)).convert("RGB")


def jitter(image, draw):
    order, factor = [int(v) for v in draw[:4]], draw[4:]
    for part in order:
        if part == 0:
            image = ImageEnhance.Brightness(image).enhance(factor[0])
        elif part == 1:
            image = ImageEnhance.Contrast(image).enhance(factor[1])
        elif part == 2:
            image = ImageEnhance.Color(image).enhance(factor[2])
        else:
            image = hue(image, factor[3])
    return image


def gray(image):
    return image.convert("L").convert("RGB")


def affine(image, draw, fill):
    angle, tx, ty, zoom, shear_x, shear_y = draw
    rot, sx, sy = math.radians(angle), math.radians(shear_x), math.radians(shear_y)
    cx, cy = image.size[0] * 0.5, image.size[1] * 0.5
    a = math.cos(rot - sy) / math.cos(sy)
    b = -math.cos(rot - sy) * math.tan(sx) / math.cos(sy) - math.sin(rot)
    c = math.sin(rot - sy) / math.cos(sy)
    d = -math.sin(rot - sy) * math.tan(sx) / math.cos(sy) + math.cos(rot)
    m = [v / zoom for v in (d, -b, 0.0, -c, a, 0.0)]
    m[2] += m[0] * (-cx - tx) + m[1] * (-cy - ty) + cx
    m[5] += m[3] * (-cx - tx) + m[4] * (-cy - ty) + cy
    return image.transform(image.size, Image.AFFINE, m, Image.BILINEAR,
                           fillcolor=fill if image.mode == "L" else (fill,) * 3)


def erase(a, draw, fill):
    y, x, h, w = (int(v) for v in draw)
    a = a.copy()
    a[y:y + h, x:x + w] = fill
    return a


def gaussian_kernel(a, sigma, size):
    r = size // 2
    k = np.exp(-0.5 * (np.arange(-r, r + 1) / sigma) ** 2)
    k /= k.sum()
    v = np.pad(a.astype(np.float64), ((r, r), (r, r), (0, 0)), mode="reflect")
    v = sum(k[t] * v[t:t + a.shape[0]] for t in range(2 * r + 1))
    v = sum(k[t] * v[:, t:t + a.shape[1]] for t in range(2 * r + 1))
    return np.rint(v).astype(np.uint8)
