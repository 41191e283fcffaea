"""The step of bench/bench_step.c in PyTorch: ResNet-18, cross entropy, SGD with momentum, float32.

torch_step.py [--stem cifar|imagenet] [--size PIXELS] [--batch N] [--threads N] [--steps N] [--channels-last]
              [--check FILE] [--serve]

--check starts from the weights and the batch `bench_step --export FILE` wrote and compares loss and gradients;
--serve makes one step for each line read and answers with its seconds.
"""
import argparse
import statistics
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

LOSS_TOLERANCE = 1e-4      # relative
GRADIENT_TOLERANCE = 1e-3  # relative to the norm of each gradient
LARGE = 1e-3               # gradients below this part of the largest norm are rounding, not signal


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet18(nn.Module):
    """Names as in torchvision."""

    def __init__(self, stem, classes=10):
        super().__init__()
        self.stem = stem
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False) if stem == "cifar" else nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for stage in range(4):
            width, stride = 64 << stage, 1 if stage == 0 else 2
            setattr(self, f"layer{stage + 1}", nn.Sequential(Block(channels, width, stride), Block(width, width, 1)))
            channels = width
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        if self.stem != "cifar":
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


def read_records(path):
    records = {}
    with open(path, "rb") as file:
        while line := file.readline():
            name, _, *shape = line.decode().split()
            shape = [int(n) for n in shape]
            count = int(np.prod(shape)) if shape else 1
            records[name] = torch.from_numpy(np.frombuffer(file.read(4 * count), np.float32).copy().reshape(shape))
    return records


def load(net, records):
    with torch.no_grad():
        for name, value in list(net.named_parameters()) + list(net.named_buffers()):
            if not name.endswith("num_batches_tracked"):
                value.copy_(records["param:" + name])


def check(net, loss, records):
    failures = 0
    want = records["loss"].item()
    error = abs(loss - want) / abs(want)
    print(f"loss {loss:.7f}, cleave {want:.7f}, relative difference {error:.2e}")
    failures += not error <= LOSS_TOLERANCE
    largest = max(p.grad.norm().item() for p in net.parameters())
    worst = (0.0, "")
    for name, p in net.named_parameters():
        got, expected = p.grad, records["grad:" + name]
        scale = max(expected.norm().item(), LARGE * largest)
        error = (got - expected).norm().item() / scale
        worst = max(worst, (error, name))
        failures += not error <= GRADIENT_TOLERANCE
    print(f"{len(list(net.parameters()))} gradients, largest relative difference {worst[0]:.2e} ({worst[1]})")
    if failures:
        sys.exit(f"{failures} values differ: this is not the same step")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stem", default="cifar")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--check")
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    torch.manual_seed(1)
    net = ResNet18(args.stem).train()
    images = torch.rand(args.batch, 3, args.size, args.size) * 2 - 1
    targets = torch.arange(args.batch) % 10
    records = None
    if args.check:
        records = read_records(args.check)
        load(net, records)
        images, targets = records["images"].permute(0, 3, 1, 2).contiguous(), records["targets"].long()
    if args.channels_last:
        net, images = net.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step():
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(net(images), targets)
        loss.backward()
        value = loss.item()
        if records is None:
            optimizer.step()
        return time.perf_counter() - start, value

    if args.check:
        check(net, step()[1], records)
    elif args.serve:
        for _ in sys.stdin:
            print(f"{step()[0]:.6f}", flush=True)
    else:
        step(), step()
        seconds = sorted(step()[0] for _ in range(args.steps))
        print(f"step,resnet18,{args.stem},size={args.size},batch={args.batch},threads={torch.get_num_threads()},"
              f"torch={torch.__version__},median_s={statistics.median(seconds):.4f},min_s={seconds[0]:.4f},"
              f"max_s={seconds[-1]:.4f},images_per_s={args.batch / statistics.median(seconds):.1f}")


if __name__ == "__main__":
    main()
