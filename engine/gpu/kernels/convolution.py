"""Convolutions, each one product of the windows that its outputs see. A transposed convolution is one too.

A signal is ``[rows, samples, width]``. Output sample t of a row sees ``K`` numbers of the row, from number
``t · STEP - BEFORE`` on; those below zero are in the state of the row's slot, ``HELD`` numbers
from slot to slot.
"""

from __future__ import annotations

from whispergpt.engine.gpu.kernels.functions import elu
from whispergpt.engine.gpu.kernels.window import window
from whispergpt.engine.gpu.language import jit, tl


@jit
def convolution(
    slots: tl.tensor,
    x: tl.tensor,
    state: tl.tensor,
    cold: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    y: tl.tensor,
    SAMPLES: tl.constexpr,
    STEP: tl.constexpr,
    ROW: tl.constexpr,
    BEFORE: tl.constexpr,
    HELD: tl.constexpr,
    WIDTH: tl.constexpr,
    K: tl.constexpr,
    N: tl.constexpr,
    THROUGH_ELU: tl.constexpr,
    MIRRORED: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
) -> None:
    """Compute ``BM`` output samples × ``BN`` outputs: ``y[m, n] = bias[n] + Σ window(m)[k] · weight[k, n]``.

    Output samples of all rows are numbered in one line, ``SAMPLES`` a row.
    """
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    if tl.load(slots + tl.program_id(0) * BM // SAMPLES) < 0:
        return
    row = m // SAMPLES
    start = (m % SAMPLES) * STEP - BEFORE
    slot = tl.load(slots + row)
    total = tl.zeros((BM, BN), tl.float32) + tl.load(bias + n, mask=n < N, other=0.0)[None, :]
    for first in range(0, K, BK):
        k = first + tl.arange(0, BK)
        place = start[:, None] + k[None, :]
        wanted = (k < K)[None, :]
        a = window(
            x, state, cold, row[:, None], slot[:, None], place, wanted, ROW, BEFORE, HELD, WIDTH, THROUGH_ELU, MIRRORED
        )
        b = tl.load(weight + k[:, None] * N + n[None, :], mask=(k < K)[:, None] & (n < N)[None, :], other=0.0)
        total = tl.dot(a.to(b.dtype), b, total, input_precision="ieee")
    tl.store(y + m[:, None] * N + n[None, :], total.to(y.dtype.element_ty), mask=(n < N)[None, :])


@jit
def with_product(
    total: tl.tensor,
    x: tl.tensor,
    m: tl.tensor,
    weight: tl.tensor,
    n: tl.tensor,
    K: tl.constexpr,
    N: tl.constexpr,
    BK: tl.constexpr,
) -> tl.tensor:
    """Return ``total`` plus rows m of ``x`` ``[rows, K]`` times columns n of ``weight`` ``[K, N]``."""
    for first in range(0, K, BK):
        k = first + tl.arange(0, BK)
        a = tl.load(x + m[:, None] * K + k[None, :], mask=(k < K)[None, :], other=0.0)
        b = tl.load(weight + k[:, None] * N + n[None, :], mask=(k < K)[:, None] & (n < N)[None, :], other=0.0)
        total = tl.dot(a.to(b.dtype), b, total, input_precision="ieee")
    return total


@jit
def residual(
    slots: tl.tensor,
    x: tl.tensor,
    state: tl.tensor,
    cold: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    shortcut: tl.tensor,
    back: tl.tensor,
    sum_bias: tl.tensor,
    scratch: tl.tensor,
    y: tl.tensor,
    SAMPLES: tl.constexpr,
    BEFORE: tl.constexpr,
    HELD: tl.constexpr,
    WIDTH: tl.constexpr,
    HIDDEN: tl.constexpr,
    K: tl.constexpr,
    MIRRORED: tl.constexpr,
    IN_PARTS: tl.constexpr,
    BM: tl.constexpr,
    BH: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
) -> None:
    """Compute ``BM`` samples of a residual unit: ``y = shortcut · x + back · ELU(weight · window(ELU(x)) + bias)``.

    ``weight`` is ``[K, HIDDEN]``, ``shortcut`` ``[WIDTH, WIDTH]`` and ``back`` ``[HIDDEN, WIDTH]``; ``sum_bias`` is the
    sum of the biases of the last two. ``BH`` is at least ``HIDDEN``. With IN_PARTS the hidden vectors go through
    ``scratch`` ``[samples, HIDDEN]``, so that a thread never has all numbers of one: products in float32 need that.
    """
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    if tl.load(slots + tl.program_id(0) * BM // SAMPLES) < 0:
        return
    row, start = m // SAMPLES, (m % SAMPLES) * WIDTH - BEFORE
    slot = tl.load(slots + row)
    h = tl.arange(0, BH)
    hidden = tl.zeros((BM, BH), tl.float32) + tl.load(bias + h, mask=h < HIDDEN, other=0.0)[None, :]
    for first in range(0, K, BK):
        k = first + tl.arange(0, BK)
        place = start[:, None] + k[None, :]
        wanted = (k < K)[None, :]
        row_of, slot_of = row[:, None], slot[:, None]
        a = window(x, state, cold, row_of, slot_of, place, wanted, SAMPLES * WIDTH, BEFORE, HELD, WIDTH, True, MIRRORED)
        b = tl.load(weight + k[:, None] * HIDDEN + h[None, :], mask=(k < K)[:, None] & (h < HIDDEN)[None, :], other=0.0)
        hidden = tl.dot(a.to(b.dtype), b, hidden, input_precision="ieee")
    inner = elu(hidden).to(weight.dtype.element_ty)
    if IN_PARTS:
        tl.store(scratch + m[:, None] * HIDDEN + h[None, :], inner, mask=(h < HIDDEN)[None, :])
        tl.debug_barrier()
    for first_n in range(0, WIDTH, BN):
        n = first_n + tl.arange(0, BN)
        total = tl.zeros((BM, BN), tl.float32) + tl.load(sum_bias + n, mask=n < WIDTH, other=0.0)[None, :]
        total = with_product(total, x, m, shortcut, n, WIDTH, WIDTH, BK)
        if IN_PARTS:
            total = with_product(total, scratch, m, back, n, HIDDEN, WIDTH, BK)
        else:
            b = tl.load(back + h[:, None] * WIDTH + n[None, :], (h < HIDDEN)[:, None] & (n < WIDTH)[None, :], other=0.0)
            total = tl.dot(inner, b, total, input_precision="ieee")
        tl.store(y + m[:, None] * WIDTH + n[None, :], total.to(y.dtype.element_ty), mask=(n < WIDTH)[None, :])
