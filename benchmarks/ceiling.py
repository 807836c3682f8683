"""The machine's best rate of matrix products, with all cores that the process may use."""

from __future__ import annotations

import time

import torch

from whispergpt.engine.backends.processors import usable_processors

SIZES = (512, 1024, 1536, 2048)


def gemm_gflops(device: torch.device, dtype: torch.dtype = torch.float32, seconds: float = 0.5) -> float:
    """Return the GFLOP/s of the fastest product of square matrices; each of four sizes is tried for ``seconds``."""
    before = torch.get_num_threads()
    torch.set_num_threads(usable_processors())
    try:
        with torch.inference_mode():
            return max(_rate(size, device, dtype, seconds) for size in SIZES)
    finally:
        torch.set_num_threads(before)


def _rate(size: int, device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    multiply = torch._int_mm if dtype == torch.int8 else torch.matmul  # sums of int8 are int32
    out = multiply(a, b)
    fastest, spent = float("inf"), 0.0
    while spent < seconds:
        _finish(device)
        began = time.perf_counter()
        multiply(a, b, out=out)
        _finish(device)
        taken = time.perf_counter() - began
        fastest, spent = min(fastest, taken), spent + taken
    return 2 * size**3 / fastest / 1e9


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
