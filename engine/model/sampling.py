"""Drawing codes: greedy, temperature, top-k, top-p, with noise that is a function of (seed, frame, codebook).

No generator has to be kept: the noise of any frame follows from its number. So a stream's codes do not depend on the
other streams in its batch, and a stream can be resumed on any server.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift logically: torch's shift is arithmetic, so the copied sign bits are masked off."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _hash(x: Tensor) -> Tensor:
    """Apply the finaliser of splitmix64 (Steele, Lea, Flood 2014): int64 → well-mixed int64, with wrapping products."""
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def gumbel_noise(seed: Tensor, frame: Tensor, codebook: int, size: int) -> Tensor:
    """Return standard Gumbel noise ``[B, size]`` for ``seed`` and ``frame``, both int64 ``[B]``."""
    key = _hash(_hash(seed + _GOLDEN) + (frame * 64 + codebook) * _GOLDEN)
    counter = torch.arange(1, size + 1, dtype=torch.int64, device=seed.device) * _GOLDEN
    # 23 bits and the 0.5 that keeps them above 0 are all that float32 holds. With 24 bits, one number in 2^24 would
    # round to 1, and its noise would be infinite.
    bits = _shift_right(_hash(key[:, None] + counter), 41)
    uniform = (bits.to(torch.float32) + 0.5) * 2.0**-23
    return -torch.log(-torch.log(uniform))


def draw(logits: Tensor, seed: Tensor, frame: Tensor, temperature: Tensor, codebook: int) -> Tensor:
    """Draw one of all codes per row of ``logits`` ``[B, size]``; the rest ``[B]``. Temperature 0 is greedy."""
    noise = gumbel_noise(seed, frame, codebook, logits.shape[-1])
    scored = logits + noise * temperature[:, None]
    return scored.argmax(dim=-1)


def sample(
    logits: Tensor, seed: Tensor, frame: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, codebook: int = 0
) -> Tensor:
    """Draw one code per row: ``logits`` ``[B, size]``, all else ``[B]`` → int64 ``[B]``.

    ``temperature`` 0 takes the likeliest code; ``top_k`` 0 and ``top_p`` 1 leave all codes in. The maximum of
    log-probabilities plus Gumbel noise is an exact draw from them.
    """
    size = logits.shape[-1]
    ordered, order = torch.sort(logits / temperature.clamp(min=1e-4)[:, None], dim=-1, descending=True, stable=True)
    rank = torch.arange(size, device=logits.device)
    probability = ordered.softmax(dim=-1)
    before = probability.cumsum(dim=-1) - probability
    likely = (before < top_p[:, None]) | (top_p[:, None] >= 1.0)
    allowed = likely & (rank < torch.where(top_k > 0, top_k, size)[:, None])
    allowed[:, 0] = True
    # The noise belongs to the code, not to its rank, so that a tiny change of logits cannot reshuffle it.
    noise = gumbel_noise(seed, frame, codebook, size).gather(1, order)
    scored = torch.where(allowed, ordered + noise, float("-inf"))
    drawn = order.gather(1, scored.argmax(dim=-1, keepdim=True))[:, 0]
    return torch.where(temperature > 0, drawn, order[:, 0])
