"""The search of bench/bench_knn.c in PyTorch: the 200 rows most similar to each query, 512 queries at a time.

torch_knn.py [--threads N] [--channels-last] (--check FILE | --serve)

--check compares the similarities of the neighbours found, best first, with float64's; --serve answers each line with
the seconds of one search. --channels-last is accepted and changes nothing.
"""
import argparse
import sys
import time

import numpy as np
import torch

K, AT_ONCE = 200, 512
TOLERANCE = 1e-6


def search(bank, queries):
    return torch.cat([(part @ bank.T).topk(K, dim=1).values for part in queries.split(AT_ONCE)])


def read_records(path):
    records = {}
    with open(path, "rb") as file:
        while line := file.readline():
            name, _, rows, columns = line.decode().split()
            data = np.frombuffer(file.read(4 * int(rows) * int(columns)), np.float32)
            records[name] = torch.from_numpy(data.copy().reshape(int(rows), int(columns)))
    return records


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--check")
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.check:
        records = read_records(args.check)
        exact = search(records["bank"].double(), records["queries"][:1024].double())
        error = (records["similarity"][:1024].double() - exact).abs().max().item()
        print(f"largest difference of a neighbour's similarity from float64: {error:.1e}")
        if not error <= TOLERANCE:
            sys.exit("these are not the same neighbours")
        return
    torch.manual_seed(1)
    bank, queries = (torch.nn.functional.normalize(torch.randn(n, 128)) for n in (50000, 10000))
    for _ in sys.stdin:
        start = time.perf_counter()
        search(bank, queries)
        print(f"{time.perf_counter() - start:.6f}", flush=True)


if __name__ == "__main__":
    main()
