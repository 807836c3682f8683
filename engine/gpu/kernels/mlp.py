"""The MLP of a transformer block in one kernel: norm, product, GELU, product, and the addition to its input."""

from __future__ import annotations

from whispergpt.engine.gpu.kernels.functions import gelu
from whispergpt.engine.gpu.kernels.product import moments
from whispergpt.engine.gpu.language import jit, tl


@jit
def mlp(
    slots: tl.tensor,
    x: tl.tensor,
    norm: tl.tensor,
    up: tl.tensor,
    down: tl.tensor,
    STRIDE: tl.constexpr,
    WIDTH: tl.constexpr,
    HIDDEN: tl.constexpr,
    BM: tl.constexpr,
    BH: tl.constexpr,
    BW: tl.constexpr,
    BK: tl.constexpr,
) -> None:
    """Compute ``x += down · GELU(up · norm(x))`` for BM rows of ``x``.

    ``up`` is ``[HIDDEN, WIDTH]`` and ``down`` ``[WIDTH, HIDDEN]``. BH of the hidden numbers are computed at a time and
    multiplied at once, so that they never leave the program; BW is WIDTH rounded up to a power of two.
    """
    first_row = tl.program_id(0) * BM
    if tl.load(slots + first_row) < 0:
        return
    m = first_row + tl.arange(0, BM)
    used = tl.load(slots + m) >= 0
    row = x + m.to(tl.int64) * STRIDE
    w = tl.arange(0, BW)
    mean, scale = moments(row, used, WIDTH, BM, BK)
    total = tl.zeros((BM, BW), tl.float32)
    for first_hidden in range(0, HIDDEN, BH):
        h = first_hidden + tl.arange(0, BH)
        hidden = tl.zeros((BM, BH), tl.float32)
        for first in range(0, WIDTH, BK):
            k = first + tl.arange(0, BK)
            a = tl.load(row[:, None] + k[None, :], mask=used[:, None] & (k < WIDTH)[None, :], other=0.0)
            by = tl.load(norm + k, mask=k < WIDTH, other=0.0)
            a = (a - mean[:, None]) * scale[:, None] * by[None, :]
            known = (h < HIDDEN)[None, :] & (k < WIDTH)[:, None]
            b = tl.load(up + h[None, :] * WIDTH + k[:, None], mask=known, other=0.0)
            hidden = tl.dot(a.to(b.dtype), b, hidden, input_precision="ieee")
        known = (w < WIDTH)[None, :] & (h < HIDDEN)[:, None]
        b = tl.load(down + w[None, :] * HIDDEN + h[:, None], mask=known, other=0.0)
        total = tl.dot(gelu(hidden).to(b.dtype), b, total, input_precision="ieee")
    where = row[:, None] + w[None, :]
    mask = used[:, None] & (w < WIDTH)[None, :]
    total += tl.load(where, mask=mask, other=0.0)
    tl.debug_barrier()  # all threads have read the rows before one writes
    tl.store(where, total, mask=mask)
