"""The losses of bench/bench_losses.c in PyTorch, written as their authors and users write them; value and gradients.

torch_losses.py [--threads N] (--check | --serve) LOSS FILE

FILE holds the inputs, and what Cleave makes of them, as `bench_losses --export LOSS` wrote it. --check compares value
and gradients; --serve makes six evaluations for each line read and answers with the median seconds of the last five.
"""
import argparse
import statistics
import sys
import time

import numpy
import torch
from torch.nn import functional as F

from torch_step import read_records

VALUE_TOLERANCE = 1e-4       # relative
GRADIENT_TOLERANCE = 1e-3    # of the gradient's length


class MocoQueue:
    """He et al. 2020: the queue is kept as [D, K]."""
    gradients = ("query",)

    def prepare(self, x):
        x["queue"] = x["queue"].T.contiguous()

    def __call__(self, query, key, queue, temperature=0.07):
        q = F.normalize(query, dim=1)
        with torch.no_grad():
            k = F.normalize(key, dim=1)
        positive = torch.einsum("nc,nc->n", [q, k]).unsqueeze(-1)
        negative = torch.einsum("nc,ck->nk", [q, queue.clone().detach()])
        logits = torch.cat([positive, negative], dim=1)
        logits /= temperature
        return F.cross_entropy(logits, torch.zeros(logits.shape[0], dtype=torch.long))


class Mochi:
    """Kalantidis et al. 2020, sections 4.1 and 4.2, on MoCo's queue, which is kept as [D, K]."""
    gradients = ("query",)

    def prepare(self, x):
        x["queue"] = x["queue"].T.contiguous()

    def products(self, q, queue):
        return torch.einsum("nc,ck->nk", [q, queue.clone().detach()])

    def rows(self, queue, slots):
        return queue.T[slots]

    def __call__(self, query, key, queue, idx_i, idx_j, alpha, idx_q, beta, temperature=0.2, hardest=1024):
        q = F.normalize(query, dim=1)
        with torch.no_grad():
            k = F.normalize(key, dim=1)
        positive = (q * k).sum(dim=1, keepdim=True)
        negative = self.products(q, queue)
        with torch.no_grad():
            _, hard = torch.topk(negative, hardest, dim=1)

            def rows(rank):
                return self.rows(queue, hard.gather(1, rank))

            pairs = F.normalize(torch.lerp(rows(idx_j), rows(idx_i), alpha.unsqueeze(-1)), dim=2)
            mixed = F.normalize(torch.lerp(rows(idx_q), q.unsqueeze(1), beta.unsqueeze(-1)), dim=2)
        synthetic = torch.bmm(torch.cat([pairs, mixed], dim=1), q.unsqueeze(2)).squeeze(2)
        logits = torch.cat([positive, negative, synthetic], dim=1)
        logits /= temperature
        return F.cross_entropy(logits, torch.zeros(logits.shape[0], dtype=torch.long))


class MochiRows(Mochi):
    """The same with the queue as [K, D], so that mixing reads whole rows."""

    def prepare(self, x):
        pass

    def products(self, q, queue):
        return torch.mm(q, queue.T)

    def rows(self, queue, slots):
        return F.embedding(slots, queue)


class FeatureTransform:
    """Zhu et al. 2021: the pair moved apart, the queue mixed with itself in another order."""
    gradients = ("q",)

    def __call__(self, q, k, queue, lambda_pos, lambda_neg, perm, temperature=0.2):
        q = F.normalize(q, dim=1)
        with torch.no_grad():
            k = F.normalize(k, dim=1)
            queue = lambda_neg * queue + (1 - lambda_neg) * queue[perm]
        q, k = lambda_pos * q + (1 - lambda_pos) * k, lambda_pos * k + (1 - lambda_pos) * q
        positive = torch.einsum("nc,nc->n", [q, k]).unsqueeze(-1)
        negative = torch.mm(q, queue.T)
        logits = torch.cat([positive, negative], dim=1)
        logits /= temperature
        return F.cross_entropy(logits, torch.zeros(logits.shape[0], dtype=torch.long))


class FeatureTransformDrawn(FeatureTransform):
    """The same with a number drawn for each element. Draws differ from Cleave's, so values are compared, as far as
    draws move them."""
    DRAWS = 6

    def draw(self, alpha, shape):
        return torch.distributions.Beta(alpha, alpha).sample(shape)

    def __call__(self, q, k, queue):
        return super().__call__(q, k, queue, 1 + self.draw(2.0, q.shape), self.draw(1.6, queue.shape),
                                torch.randperm(queue.shape[0]))


class FeatureTransformNumpy(FeatureTransformDrawn):
    """With NumPy's generator, as in the authors' code."""

    def draw(self, alpha, shape):
        return torch.from_numpy(numpy.random.beta(alpha, alpha, size=tuple(shape))).float()


class SupCon:
    """Khosla et al. 2020, eq. 2."""
    gradients = ("features",)

    def __call__(self, features, labels, temperature=0.07, base_temperature=0.07):
        views = features.shape[1]
        rows = torch.cat(torch.unbind(F.normalize(features, dim=2), dim=1), dim=0)
        logits = torch.div(torch.matmul(rows, rows.T), temperature)
        largest, _ = torch.max(logits, dim=1, keepdim=True)
        logits = logits - largest.detach()
        same = torch.eq(labels.view(-1, 1), labels.view(1, -1)).float().repeat(views, views)
        others = 1 - torch.eye(rows.shape[0])
        positives = same * others
        log_prob = logits - torch.log((torch.exp(logits) * others).sum(1, keepdim=True))
        count = positives.sum(1)
        count = torch.where(count < 1e-6, torch.ones_like(count), count)
        return -(temperature / base_temperature) * ((positives * log_prob).sum(1) / count).mean()


class Unpg:
    """Jung et al. 2022: the filtered pairs are appended to every row's logits."""
    gradients = ("features", "weight")

    def __call__(self, features, weight, labels, s=64, m=0.5, wisk=1.5):
        x = F.normalize(features)
        cosine = F.linear(x, F.normalize(weight))
        cosine = cosine - m * F.one_hot(labels, weight.shape[0])
        different = torch.triu(labels.view(-1, 1) != labels.view(1, -1), diagonal=1)
        pairs = torch.matmul(x, x.T)[different]
        with torch.no_grad():
            ordered, _ = torch.sort(pairs)
            q1, q3 = ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]
            keep = (pairs >= q1 - wisk * (q3 - q1)) & (pairs <= q3 + wisk * (q3 - q1))
        pairs = pairs[keep].unsqueeze(0).expand(len(labels), -1)
        return F.cross_entropy(s * torch.cat([cosine, pairs], dim=1), labels)


class BarlowTwins:
    """Zbontar et al. 2021, algorithm 1."""
    gradients = ("z1", "z2")

    def prepare(self, x):
        self.norm = torch.nn.BatchNorm1d(x["z1"].shape[1], affine=False)

    def __call__(self, z1, z2, lambd=0.0051):
        c = self.norm(z1).T @ self.norm(z2)
        c.div_(z1.shape[0])
        on_diagonal = torch.diagonal(c).add(-1).pow(2).sum()
        n = c.shape[0]
        off_diagonal = c.flatten()[:-1].view(n - 1, n + 1)[:, 1:].flatten().pow(2).sum()
        return on_diagonal + lambd * off_diagonal


class Opl:
    """Ranasinghe et al. 2021, without an absolute value."""
    gradients = ("features",)

    def __call__(self, features, labels, gamma=0.5):
        x = F.normalize(features, p=2, dim=1)
        same = torch.eq(labels.view(-1, 1), labels.view(1, -1))
        positives = same.masked_fill(torch.eye(len(labels), dtype=torch.bool), 0).float()
        negatives = (~same).float()
        product = torch.matmul(x, x.T)
        positive = (positives * product).sum() / (positives.sum() + 1e-6)
        negative = (negatives * product).sum() / (negatives.sum() + 1e-6)
        return 1.0 - positive + gamma * negative


class Dice:
    """Li et al. 2020, class after class, with squares in the denominator."""
    gradients = ("logits",)

    def __call__(self, logits, targets, alpha=0.5, smooth=1e-4):
        probability = torch.softmax(logits, dim=1)
        one_hot = F.one_hot(targets, logits.shape[1]).float()
        loss = 0
        for c in range(logits.shape[1]):
            p, y = probability[:, c].view(-1, 1), one_hot[:, c].view(-1, 1)
            p = (1 - p) ** alpha * p
            both = torch.sum(p * y, -1)
            either = torch.sum(torch.square(p), -1) + torch.sum(torch.square(y), -1)
            loss = loss + (1 - (2 * both + smooth) / (either + smooth))
        return loss.mean()


class NtXent:
    """Chen et al. 2020: the diagonal is filled with a low number."""
    gradients = ("z1", "z2")

    def __call__(self, z1, z2, temperature=0.1):
        z = F.normalize(torch.cat([z1, z2]), dim=1)
        n = z1.shape[0]
        logits = torch.matmul(z, z.T) / temperature
        logits = logits.masked_fill(torch.eye(2 * n, dtype=torch.bool), -1e9)
        return F.cross_entropy(logits, torch.arange(2 * n).roll(n))


class Vicreg:
    """Bardes et al. 2022, algorithm 1."""
    gradients = ("x", "y")

    def __call__(self, x, y, invariance=25, variance=25, covariance=1):
        n, d = x.shape
        loss = invariance * F.mse_loss(x, y)
        off_diagonal = ~torch.eye(d, dtype=torch.bool)
        for z in (x, y):
            z = z - z.mean(dim=0)
            loss = loss + variance / 2 * F.relu(1 - torch.sqrt(z.var(dim=0) + 1e-4)).mean()
            cov = (z.T @ z) / (n - 1)
            loss = loss + covariance * cov[off_diagonal].pow(2).sum() / d
        return loss


class CrossEntropy:
    gradients = ("logits",)

    def __call__(self, logits, targets):
        return F.cross_entropy(logits, targets)


class FocalSoftmax:
    """Lin et al. 2017 with a softmax, as it is commonly written."""
    gradients = ("logits",)

    def __call__(self, logits, targets, gamma=2):
        cross_entropy = F.cross_entropy(logits, targets, reduction="none")
        return ((1 - torch.exp(-cross_entropy)) ** gamma * cross_entropy).mean()


class FocalSigmoid:
    """Lin et al. 2017, as in torchvision.ops.sigmoid_focal_loss."""
    gradients = ("logits",)

    def __call__(self, logits, targets, alpha=0.25, gamma=2):
        y = targets.float()
        p = torch.sigmoid(logits)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
        p_t = p * y + (1 - p) * (1 - y)
        loss = cross_entropy * (1 - p_t) ** gamma
        return ((alpha * y + (1 - alpha) * (1 - y)) * loss).mean()


class TripletHard:
    """Hermans et al. 2017, eq. 5."""
    gradients = ("features",)

    def __call__(self, features, labels, margin=0.2):
        d = torch.cdist(features, features)
        same = labels.view(-1, 1) == labels.view(1, -1)
        itself = torch.eye(len(labels), dtype=torch.bool)
        positive = d.masked_fill(~same | itself, -1).max(dim=1).values
        negative = d.masked_fill(same, float("inf")).min(dim=1).values
        valid = positive >= 0
        return F.relu(positive - negative + margin)[valid].mean()


class TripletAll:
    """Hermans et al. 2017, eq. 6, over the triplets above 0."""
    gradients = ("features",)

    def __call__(self, features, labels, margin=0.2):
        d = torch.cdist(features, features)
        same = labels.view(-1, 1) == labels.view(1, -1)
        positive = same & ~torch.eye(len(labels), dtype=torch.bool)
        loss = F.relu(d.unsqueeze(2) - d.unsqueeze(1) + margin)
        loss = loss * (positive.unsqueeze(2) & ~same.unsqueeze(1))
        return loss.sum() / ((loss > 1e-16).sum() + 1e-16)


class Byol:
    """Grill et al. 2020, eq. 2, both ways round."""
    gradients = ("p1", "p2")

    def __call__(self, p1, p2, z1, z2):
        p1, p2, z1, z2 = (F.normalize(x, dim=1) for x in (p1, p2, z1, z2))
        return (2 - 2 * (p1 * z2).sum(1)).mean() + (2 - 2 * (p2 * z1).sum(1)).mean()


LOSSES = {"nt_xent": NtXent, "vicreg": Vicreg, "cross_entropy": CrossEntropy, "focal_softmax": FocalSoftmax,
          "focal_sigmoid": FocalSigmoid, "triplet_hard": TripletHard, "triplet_all": TripletAll, "byol": Byol,
          "moco_queue": MocoQueue, "moco_queue_bf16": MocoQueue, "mochi": Mochi, "mochi:rows": MochiRows,
          "feature_transform": FeatureTransform, "feature_transform_drawn": FeatureTransformDrawn,
          "feature_transform_drawn:numpy": FeatureTransformNumpy,
          "supcon": SupCon, "unpg": Unpg, "barlow_twins": BarlowTwins, "opl": Opl, "dice": Dice}


class Evaluation:
    """A loss and its inputs."""

    def __init__(self, name, records):
        self.loss = LOSSES[name]()
        self.inputs = {key: value for key, value in records.items() if key != "loss" and not key.startswith("grad:")}
        for key in ("labels", "targets", "idx_i", "idx_j", "idx_q", "perm"):
            if key in self.inputs:
                self.inputs[key] = self.inputs[key].long()
        if hasattr(self.loss, "prepare"):
            self.loss.prepare(self.inputs)
        for key in self.loss.gradients:
            self.inputs[key].requires_grad_()

    def run(self):
        for key in self.loss.gradients:
            self.inputs[key].grad = None
        value = self.loss(**self.inputs)
        value.backward()
        return value.item()

    def seconds(self):
        """The median of a few evaluations, after one that wakes the threads."""
        each = []
        for _ in range(6):
            start = time.perf_counter()
            self.run()
            each.append(time.perf_counter() - start)
        return statistics.median(each[1:])


def check_drawn(name, evaluation, records):
    """Our value against the mean of some of theirs; five standard errors of a difference pass."""
    values, ours = [evaluation.run() for _ in range(evaluation.loss.DRAWS)], records["loss"].item()
    mean, error = statistics.mean(values), statistics.stdev(values) * (1 + 1 / len(values)) ** 0.5
    print(f"{name:12} torch {mean:.7g} +- {error:.1e}  cleave {ours:.7g}", flush=True)
    if abs(ours - mean) > 5 * error:
        sys.exit(f"{name}: this is not the same loss")


def check(name, evaluation, records):
    if hasattr(evaluation.loss, "DRAWS"):
        return check_drawn(name, evaluation, records)
    theirs, ours = evaluation.run(), records["loss"].item()
    worst = 0
    for key in evaluation.loss.gradients:
        gradient = evaluation.inputs[key].grad
        worst = max(worst, ((records["grad:" + key] - gradient).norm() / gradient.norm()).item())
    print(f"{name:12} torch {theirs:.7g}  cleave {ours:.7g}  gradients differ by {worst:.1e}", flush=True)
    if not (abs(ours - theirs) <= VALUE_TOLERANCE * abs(theirs) and worst <= GRADIENT_TOLERANCE):
        sys.exit(f"{name}: this is not the same loss")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("loss", choices=LOSSES)
    parser.add_argument("file")
    parser.add_argument("--threads", type=int, default=0)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true")
    what.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    records = read_records(args.file)
    evaluation = Evaluation(args.loss, records)
    if args.check:
        check(args.loss, evaluation, records)
        return
    for _ in sys.stdin:
        print(f"{evaluation.seconds():.7f}", flush=True)


if __name__ == "__main__":
    main()
