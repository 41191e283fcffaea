#!/usr/bin/env python3
"""Writes vit.h5, convnext.h5, iresnet.h5 and resnet12.h5 beside this file: features and gradients of small networks by
timm, torchvision, and the modules below.

    python3 make.py        (PyTorch 2.x, torchvision, timm 1.x, h5py)

Parameters are not stored. Both sides fill them from the same counter-based numbers: parameter number r in the order of
their names, element k, is centre + width u(r, k) with u in [-1, 1). Of each gradient the file keeps its length and its
product with the numbers of another stream. All is computed in float64."""
import functools, os
import h5py, numpy, timm, torch, torchvision
from torchvision.models.convnext import CNBlockConfig

def numbers(stream, count):
    """Uniform in [-1, 1): splitmix64 of stream * 2^32 + k."""
    z = (numpy.uint64(stream) << numpy.uint64(32)) + numpy.arange(count, dtype=numpy.uint64)
    z = (z + numpy.uint64(1)) * numpy.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    z = z ^ (z >> numpy.uint64(31))
    return (z >> numpy.uint64(11)).astype(numpy.float64) / 2.0**52 - 1.0

def fill(name, shape, stream):
    """Weights by their number of inputs, scales around 1, biases and the class token around 0."""
    u = numbers(stream, int(numpy.prod(shape))).reshape(shape)
    if len(shape) in (2, 4):
        return u * (3.0 / numpy.prod(shape[1:]))**0.5
    if name.endswith("weight") or name.endswith("layer_scale"):
        return 1.0 + 0.3 * u
    return 0.2 * u

def positions(rows, columns, width):
    """MoCo v3's: sines and cosines of the row's angles, then of the column's; nothing for the class token."""
    angle = 10000.0 ** (-numpy.arange(width // 4) / (width // 4))
    r, c = [a.reshape(-1, 1) * angle for a in numpy.mgrid[0:rows, 0:columns].astype(numpy.float64)]
    table = numpy.concatenate([numpy.sin(r), numpy.cos(r), numpy.sin(c), numpy.cos(c)], axis=1)
    return numpy.concatenate([numpy.zeros((1, width)), table])[None]

def write(path, network, skip, shape, options):
    """skip: parameters that start as the library starts them, and get no gradient."""
    network = network.double().train()
    for rank, (name, p) in enumerate(sorted(network.named_parameters())):
        if name not in skip:
            p.data = torch.from_numpy(fill(name, tuple(p.shape), rank + 1))
    images = numbers(1000, int(numpy.prod(shape))).reshape(shape)
    features = network(torch.from_numpy(images))
    weights = numbers(1001, features.numel()).reshape(features.shape)
    (features * torch.from_numpy(weights)).sum().backward()
    rows = []
    for rank, (name, p) in enumerate(sorted(network.named_parameters())):
        g = numpy.zeros(1) if name in skip else p.grad.numpy().ravel()
        rows.append([numpy.sqrt((g * g).sum()), (g * numbers(rank + 2001, g.size)).sum()])
    with h5py.File(path, "w") as f:
        f["images"] = numpy.moveaxis(images, 1, 3)          # N,H,W,C
        f["weights"] = weights
        f["features"] = features.detach().numpy()
        f["gradients"] = numpy.array(rows)
        f.attrs["names"] = " ".join(sorted(name for name, _ in network.named_parameters()))
        f.attrs["options"] = options

class FaceBlock(torch.nn.Module):
    """ArcFace's (arXiv:1801.07698, section 3.1): norm, convolution, norm, PReLU, convolution with the stride, norm."""
    def __init__(self, before, after, stride):
        super().__init__()
        self.bn1 = torch.nn.BatchNorm2d(before)
        self.conv1 = torch.nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(after)
        self.prelu = torch.nn.PReLU(after)
        self.conv2 = torch.nn.Conv2d(after, after, 3, stride=stride, padding=1, bias=False)
        self.bn3 = torch.nn.BatchNorm2d(after)
        self.downsample = None if stride == 1 else torch.nn.Sequential(
            torch.nn.Conv2d(before, after, 1, stride=stride, bias=False), torch.nn.BatchNorm2d(after))

    def forward(self, x):
        y = self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x)))))
        return self.bn3(y) + (x if self.downsample is None else self.downsample(x))

class FaceNetwork(torch.nn.Module):
    def __init__(self, blocks, width, places, size):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(width)
        self.prelu = torch.nn.PReLU(width)
        before = width
        for stage, count in enumerate(blocks):
            after = width << stage
            layers = [FaceBlock(before if i == 0 else after, after, 2 if i == 0 else 1) for i in range(count)]
            setattr(self, f"layer{stage + 1}", torch.nn.Sequential(*layers))
            before = after
        self.bn2 = torch.nn.BatchNorm2d(before)
        self.fc = torch.nn.Linear(before * places, size)
        self.features = torch.nn.BatchNorm1d(size)

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))

class FewShotBlock(torch.nn.Module):
    """MetaOptNet's (arXiv:1904.03758, section 4.1), without what is dropped."""
    def __init__(self, before, after):
        super().__init__()
        for i, channels in enumerate((before, after, after)):
            setattr(self, f"conv{i + 1}", torch.nn.Conv2d(channels, after, 3, padding=1, bias=False))
            setattr(self, f"bn{i + 1}", torch.nn.BatchNorm2d(after))
        self.downsample = torch.nn.Sequential(torch.nn.Conv2d(before, after, 1, bias=False),
                                              torch.nn.BatchNorm2d(after))

    def forward(self, x):
        leaky = functools.partial(torch.nn.functional.leaky_relu, negative_slope=0.1)
        y = leaky(self.bn2(self.conv2(leaky(self.bn1(self.conv1(x))))))
        return torch.nn.functional.max_pool2d(leaky(self.bn3(self.conv3(y)) + self.downsample(x)), 2)

class FewShotNetwork(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        before = 3
        for i, after in enumerate((width, 5 * width // 2, 5 * width, 10 * width)):
            setattr(self, f"layer{i + 1}", torch.nn.Sequential(FewShotBlock(before, after)))
            before = after

    def forward(self, x):
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x.mean((2, 3))

def main():
    here = os.path.dirname(os.path.abspath(__file__))
    norm = functools.partial(torch.nn.LayerNorm, eps=1e-6)
    width, depth, heads, patch, height, columns = 32, 2, 4, 8, 16, 24
    vit = timm.models.vision_transformer.VisionTransformer(
        img_size=(height, columns), patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, mlp_ratio=4,
        qkv_bias=True, norm_layer=norm, num_classes=0, global_pool="token")
    vit.pos_embed.data = torch.from_numpy(positions(height // patch, columns // patch, width))
    write(os.path.join(here, "vit.h5"), vit, {"pos_embed"}, (3, 3, height, columns),
          f"width={width} depth={depth} heads={heads} patch={patch} stop-grad-conv1=false")

    c = 8
    stages = [CNBlockConfig(c, 2 * c, 3), CNBlockConfig(2 * c, 4 * c, 3), CNBlockConfig(4 * c, 8 * c, 9),
              CNBlockConfig(8 * c, None, 3)]
    convnext = torchvision.models.ConvNeXt(stages, stochastic_depth_prob=0.0)
    convnext.classifier[2] = torch.nn.Identity()
    write(os.path.join(here, "convnext.h5"), convnext, set(), (2, 3, 32, 64), f"width={c}")

    write(os.path.join(here, "iresnet.h5"), FaceNetwork([2, 2, 2, 2], 16, 2, 24), set(), (8, 3, 16, 32),
          "width=16 dim=24")
    write(os.path.join(here, "resnet12.h5"), FewShotNetwork(8), set(), (4, 3, 16, 32), "width=8")

main()
