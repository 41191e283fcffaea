"""What a GPU reaches, by PyTorch: bytes a second of a copy (read and written), and float32 and bfloat16 products of
8192 x 8192 matrices of random numbers.

torch_ceilings.py
"""
import torch


def best(work, times=10):
    for _ in range(3):
        work()
    seconds = []
    for _ in range(times):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        seconds.append(begin.elapsed_time(end) / 1e3)
    return min(seconds)


def product(dtype):
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    return 2 * 8192**3 / best(lambda: a @ b) / 1e12


source = torch.empty(1 << 30, dtype=torch.float32, device="cuda").normal_()
target = torch.empty_like(source)
copied = 2 * 4 * (1 << 30) / best(lambda: target.copy_(source)) / 1e12
print(f"copy {copied:.2f} TB/s, products {product(torch.float32):.0f} TFLOP/s in float32, "
      f"{product(torch.bfloat16):.0f} in bfloat16")
