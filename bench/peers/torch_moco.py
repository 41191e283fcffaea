"""The step of bench/bench_moco.c in PyTorch, as MoCo's authors wrote it, but with the key encoder's update in place.

torch_moco.py [--backbone resnet18|resnet50] [--stem cifar|imagenet] [--size PIXELS] [--batch N] [--queue K]
              [--device cpu|cuda:N] [--threads N] [--steps N] [--precision fp32|tf32|bf16] [--channels-last] [--compile]
              [--check FILE] [--serve]

--check starts from what `bench_moco --export FILE` wrote and compares loss and gradients as torch_step.py does. Without, or
with --serve, it is timed as torch_step.py is.
"""
import copy
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

from torch_step import (FAMILIES, GRADIENT_FACTOR, LOSS_TOLERANCE, ResNet, errors, finish, forward, load, options, parse,
                        read_records, time_steps)

DIM, TEMPERATURE, MOMENTUM = 128, 0.2, 0.999


def make_encoder(args):
    net = ResNet(args.backbone, args.stem, DIM)
    features = net.fc.in_features
    net.fc = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, DIM))
    return net.train()


def info_nce(q, k, queue):
    """queue: [D,K]."""
    q = F.normalize(q, dim=1)
    positive = torch.einsum("nc,nc->n", q, k).unsqueeze(-1)
    negative = torch.einsum("nc,ck->nk", q, queue.clone())
    logits = torch.cat([positive, negative], dim=1) / TEMPERATURE
    return F.cross_entropy(logits, torch.zeros(logits.shape[0], dtype=torch.long, device=logits.device))


def first_step(args, records, dtype, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = make_encoder(args)
    load(net, records, args)
    query = net.to(dtype=dtype).to(memory_format=layout)
    key = copy.deepcopy(query)
    images = [records[name].permute(0, 3, 1, 2).to(dtype).contiguous(memory_format=layout) for name in ("query", "key")]
    with torch.no_grad():
        k = F.normalize(key(images[1]), dim=1)
    loss = info_nce(query(images[0]), k, records["queue"].to(dtype).T)
    loss.backward()
    return loss.item(), {name: p.grad.double() for name, p in query.named_parameters()}


def check(args):
    records = read_records(args.check)
    exact, truth = first_step(args, records, torch.float64, False)
    ours, mine = records["loss"].item(), errors({n: records["grad:" + n].double() for n in truth}, truth)
    theirs = [e for last in (False, True) for e in errors(first_step(args, records, torch.float32, last)[1], truth)]
    print(f"float64 loss {exact:.7f}; cleave {ours:.7f}, errors of {len(truth)} gradients, median and largest: "
          f"{statistics.median(mine):.1e} {max(mine):.1e}; torch {statistics.median(theirs):.1e} {max(theirs):.1e}")
    if not (abs(ours - exact) <= LOSS_TOLERANCE["fp32"] * abs(exact) and max(mine) <= GRADIENT_FACTOR * max(theirs)):
        sys.exit("this is not the same step")


def main():
    parser = options(FAMILIES)
    parser.add_argument("--queue", type=int, default=4096)
    args = parse(parser)
    if args.check:
        check(args)
        return
    torch.manual_seed(1)
    query = make_encoder(args).to(args.device)
    images = [torch.rand(args.batch, 3, args.size, args.size, device=args.device) * 2 - 1 for _ in range(2)]
    if args.channels_last:
        query = query.to(memory_format=torch.channels_last)
        images = [x.to(memory_format=torch.channels_last) for x in images]
    key = copy.deepcopy(query)
    queue = F.normalize(torch.randn(DIM, args.queue, device=args.device), dim=0)
    pointer = 0
    optimizer = torch.optim.SGD(query.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4)
    parameters = list(zip(key.parameters(), query.parameters()))
    if args.compile:
        query, key = torch.compile(query), torch.compile(key)

    def step():
        nonlocal pointer
        start = time.perf_counter()
        with torch.no_grad():
            for k, q in parameters:
                k.mul_(MOMENTUM).add_(q, alpha=1 - MOMENTUM)
            keys = F.normalize(forward(key, images[1], args.precision), dim=1)
        optimizer.zero_grad(set_to_none=True)
        info_nce(forward(query, images[0], args.precision), keys, queue).backward()
        optimizer.step()
        queue[:, pointer:pointer + args.batch] = keys.T
        pointer = (pointer + args.batch) % args.queue
        finish(args)
        return time.perf_counter() - start

    time_steps(args, "moco", step)


if __name__ == "__main__":
    main()
