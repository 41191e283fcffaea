"""The updates of bench/bench_update.c in PyTorch, in place: torch.optim.SGD, and k.mul_(m).add_(p, alpha=1-m).

torch_update.py ema|sgd|sgd+ema [--threads N] [--channels-last] (--check FILE | --serve)

The parameters are ResNet-50's, as 161 tensors; --check works on the exported vectors, cut into such pieces.
Each line read is answered with the mean seconds of ten updates. --channels-last is accepted and changes nothing: these are passes over flat memory.
"""
import argparse
import sys
import time

import numpy as np
import torch

TOLERANCE = 1e-6       # absolute; values are up to 1


def shapes():
    """ResNet-50's parameters in the order of torchvision."""
    result = [(64, 3, 7, 7), (64,), (64,)]
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            result += [(width, inputs, 1, 1), (width,), (width,), (width, width, 3, 3), (width,), (width,),
                       (4 * width, width, 1, 1), (4 * width,), (4 * width,)]
            if block == 0:
                result += [(4 * width, inputs, 1, 1), (4 * width,), (4 * width,)]
            inputs = 4 * width
    return result + [(1000, 2048), (1000,)]


def read_records(path):
    records = {}
    with open(path, "rb") as file:
        while line := file.readline():
            name, _, count = line.decode().split()
            records[name] = torch.from_numpy(np.frombuffer(file.read(4 * int(count)), np.float32).copy())
    return records


def make_update(what, parameters, followers, optimizer):
    @torch.no_grad()
    def update():
        if "sgd" in what:
            optimizer.step()
        if "ema" in what:
            for k, p in zip(followers, parameters):
                k.mul_(0.999).add_(p, alpha=0.001)
    return update


def sgd(parameters, gradients, velocities):
    optimizer = torch.optim.SGD(parameters, lr=0.03, momentum=0.9, weight_decay=1e-4)
    for p, g, v in zip(parameters, gradients, velocities):
        p.grad = g
        optimizer.state[p]["momentum_buffer"] = v
    return optimizer


def check(args):
    records = read_records(args.check)
    value, gradient, velocity, follower = (records["before:" + name].clone()
                                           for name in ("value", "gradient", "velocity", "follower"))
    parameter = torch.nn.Parameter(value)
    make_update(args.what, [parameter], [follower], sgd([parameter], [gradient], [velocity]))()
    for name, tensor in (("value", parameter.detach()), ("velocity", velocity), ("follower", follower)):
        error = (tensor - records["after:" + name]).abs().max().item()
        print(f"{name}: largest difference {error:.1e}")
        if not error <= TOLERANCE:
            sys.exit("these are not the same updates")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("ema", "sgd", "sgd+ema"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--check")
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.check:
        check(args)
        return
    torch.manual_seed(1)
    parameters = [torch.nn.Parameter(torch.randn(s)) for s in shapes()]
    gradients, velocities, followers = ([torch.randn(s) for s in shapes()] for _ in range(3))
    update = make_update(args.what, parameters, followers, sgd(parameters, gradients, velocities))
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(10):
            update()
        print(f"{(time.perf_counter() - start) / 10:.6f}", flush=True)


if __name__ == "__main__":
    main()
