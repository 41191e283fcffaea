"""The step of bench/bench_step.c in PyTorch: a ResNet, torchvision's ConvNeXt-T or timm's ViT with the projection of
patches and the positions left alone; cross entropy, SGD with momentum; bf16 is autocast.

torch_step.py [--backbone resnet18|resnet50|resnet20|convnext_tiny|vit_small|vit_base] [--stem cifar|imagenet]
              [--size PIXELS] [--batch N] [--device cpu|cuda:N] [--threads N] [--steps N] [--precision fp32|tf32|bf16]
              [--infer] [--channels-last] [--compile] [--check FILE] [--serve]

--infer: logits in evaluation mode. --check starts from the weights and the batch `bench_step --export FILE` wrote and
compares loss and gradients; --serve makes one step for each line read and answers with its seconds. On a GPU images lie
there already, and a step ends when the GPU is done. fp32 is strict (torch.backends.cudnn.allow_tf32 = False), as
Cleave's is; tf32 is float32 as PyTorch comes: convolutions in TF32 (allow_tf32 = True), matrix products strict
(torch.backends.cuda.matmul.allow_tf32 = False).
"""
import argparse
import functools
import statistics
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

LOSS_TOLERANCE = {"fp32": 1e-4, "bf16": 2**-7}        # relative; bfloat16 has 8 bits
LOGITS_TOLERANCE = {"fp32": 1e-4, "bf16": 2**-4}      # of the largest; a rounding for every layer
GRADIENT_FACTOR = 2        # times the error PyTorch itself makes


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


class Bottleneck(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 1, 1, 0, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv3 = nn.Conv2d(outputs, 4 * outputs, 1, 1, 0, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * outputs)
        self.downsample = None
        if stride != 1 or inputs != 4 * outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 1, stride, bias=False),
                                            nn.BatchNorm2d(4 * outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


FAMILIES = {"resnet18": (Block, 1, (2, 2, 2, 2), 64), "resnet50": (Bottleneck, 4, (3, 4, 6, 3), 64),
            "resnet20": (Block, 1, (3, 3, 3), 16)}


class ResNet(nn.Module):
    """Names as in torchvision."""

    def __init__(self, name, stem, outputs=10):
        super().__init__()
        block, expansion, counts, width = FAMILIES[name]
        self.stem, self.stages = stem, len(counts)
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False) if stem == "cifar" else \
            nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage, count in enumerate(counts):
            blocks = []
            for i in range(count):
                blocks.append(block(channels, width << stage, 2 if stage > 0 and i == 0 else 1))
                channels = expansion * (width << stage)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, outputs)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        if self.stem != "cifar":
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


LAST = {"convnext_tiny": "classifier.2.", "vit_small": "head.", "vit_base": "head."}     # what is fc. in Cleave


def network(args, outputs=10):
    if args.backbone in FAMILIES:
        return ResNet(args.backbone, args.stem, outputs)
    if args.backbone == "convnext_tiny":
        import torchvision
        return torchvision.models.convnext_tiny(num_classes=outputs, stochastic_depth_prob=0.0)
    import timm
    net = timm.models.vision_transformer.VisionTransformer(
        img_size=args.size, patch_size=16, embed_dim={"vit_small": 384, "vit_base": 768}[args.backbone], depth=12,
        num_heads=12, num_classes=outputs, norm_layer=functools.partial(nn.LayerNorm, eps=1e-6))
    for p in (net.pos_embed, *net.patch_embed.parameters()):
        p.requires_grad = False
    return net


def our_name(args, name):
    last = LAST.get(args.backbone)
    return "fc." + name[len(last):] if last and name.startswith(last) else name


def read_records(path):
    records = {}
    with open(path, "rb") as file:
        while line := file.readline():
            name, _, *shape = line.decode().split()
            shape = [int(n) for n in shape]
            count = int(np.prod(shape)) if shape else 1
            records[name] = torch.from_numpy(np.frombuffer(file.read(4 * count), np.float32).copy().reshape(shape))
    return records


def load(net, records, args):
    with torch.no_grad():
        for name, value in list(net.named_parameters()) + list(net.named_buffers()):
            if not name.endswith("num_batches_tracked"):
                value.copy_(records["param:" + our_name(args, name)])


def forward(net, images, precision):
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = net(images)
    return logits if precision == "fp32" else logits.float()


def step_in(args, records, dtype, channels_last, precision="fp32"):
    """Loss and gradients of the exported step, computed in dtype."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = network(args).train()
    load(net, records, args)
    net = net.to(dtype=dtype).to(memory_format=layout)
    images = records["images"].permute(0, 3, 1, 2).to(dtype=dtype).contiguous(memory_format=layout)
    loss = F.cross_entropy(forward(net, images, precision), records["targets"].long())
    loss.backward()
    return loss.item(), {our_name(args, name): p.grad.double() for name, p in net.named_parameters() if p.requires_grad}


def errors(gradients, truth):
    return [((gradients[name] - value).norm() / value.norm()).item() for name, value in truth.items()]


def check_logits(args):
    records = read_records(args.check)
    net = network(args).eval()
    load(net, records, args)
    with torch.no_grad():
        exact = net.double()(records["images"].permute(0, 3, 1, 2).double())
    error = ((records["logits"].double() - exact).abs().max() / exact.abs().max()).item()
    print(f"largest error of the logits against float64: {error:.1e} of the largest logit")
    if not error <= LOGITS_TOLERANCE[args.precision]:
        sys.exit("these are not the same logits")


def check(args):
    """In float32 the gradients of a deep network with ReLU and batch norm carry errors of 1e-3 and more, whoever
    computes them, and in bfloat16 many times that: so all are held against float64, and ours may be off by no more than
    twice what PyTorch's are in the same precision."""
    records = read_records(args.check)
    exact, truth = step_in(args, records, torch.float64, False)
    ours = records["loss"].item()
    mine = errors({name: records["grad:" + name].double() for name in truth}, truth)
    theirs = []
    print(f"float64      loss {exact:.7f}, errors of {len(truth)} gradients against it, median and largest:")
    for name, channels_last in (("torch", False), ("torch nhwc", True)):
        loss, gradients = step_in(args, records, torch.float32, channels_last, args.precision)
        error = errors(gradients, truth)
        theirs += error
        print(f"{name:12} loss {loss:.7f}  {statistics.median(error):.1e} {max(error):.1e}")
    print(f"cleave       loss {ours:.7f}  {statistics.median(mine):.1e} {max(mine):.1e}")
    near = abs(ours - exact) <= LOSS_TOLERANCE[args.precision] * abs(exact)
    if not (near and max(mine) <= GRADIENT_FACTOR * max(theirs)):
        sys.exit("this is not the same step")


def finish(args):
    if args.device != "cpu":
        torch.cuda.synchronize(args.device)


def time_steps(args, what, step):
    """--serve: a step for each line read, and its seconds. Else the median of the steps after the first ones, which also
    compile."""
    if args.serve:
        for _ in sys.stdin:
            print(f"{step():.6f}", flush=True)
        return
    for _ in range(3):
        step()
    seconds = sorted(step() for _ in range(args.steps))
    print(f"{what},{args.backbone},{args.stem},{args.precision},size={args.size},batch={args.batch},device={args.device},"
          f"threads={torch.get_num_threads()},torch={torch.__version__},median_s={statistics.median(seconds):.5f},"
          f"min_s={seconds[0]:.5f},max_s={seconds[-1]:.5f},images_per_s={args.batch / statistics.median(seconds):.1f}")


def options(backbones):
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="resnet18", choices=backbones)
    parser.add_argument("--stem", default="cifar")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--check")
    parser.add_argument("--serve", action="store_true")
    return parser


def parse(parser):
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.precision == "tf32" and (args.device == "cpu" or args.check):
        parser.error("--precision tf32 is for GPUs, and --check computes on the processor")
    torch.backends.cudnn.allow_tf32 = args.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = False
    return args


def main():
    parser = options([*FAMILIES, *LAST])
    parser.add_argument("--infer", action="store_true")
    args = parse(parser)
    if args.check:
        (check_logits if args.infer else check)(args)
        return

    torch.manual_seed(1)
    net = network(args).train(not args.infer).to(args.device)
    images = torch.rand(args.batch, 3, args.size, args.size, device=args.device) * 2 - 1
    targets = torch.arange(args.batch, device=args.device) % 10
    if args.channels_last:
        net, images = net.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    if args.compile:
        net = torch.compile(net)

    def step():
        start = time.perf_counter()
        if args.infer:
            with torch.no_grad():
                forward(net, images, args.precision)
            finish(args)
            return time.perf_counter() - start
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(forward(net, images, args.precision), targets).backward()
        optimizer.step()
        finish(args)
        return time.perf_counter() - start

    time_steps(args, "inference" if args.infer else "step", step)


if __name__ == "__main__":
    main()
