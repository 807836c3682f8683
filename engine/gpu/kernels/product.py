"""Products of rows with a weight matrix: norm before, bias, addition and activation behind, in one kernel."""

from __future__ import annotations

from whispergpt.engine.gpu.kernels.functions import activated
from whispergpt.engine.gpu.language import jit, tl

NONE, GELU, ELU = 0, 1, 2
"""Activations."""
EPSILON = 1e-5
"""Added to the variance by a norm, as torch's LayerNorm does."""


@jit
def moments(x: tl.tensor, used: tl.tensor, K: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr) -> tl.tensor:
    """Return mean and 1 / standard deviation, each ``[BM]``, of rows at the addresses ``x`` ``[BM]``.

    The mean comes first and then the squares of differences (two passes), as in ``native/src/layers.h``.
    """
    total = tl.zeros((BM,), tl.float32)
    for first in range(0, K, BK):
        k = first + tl.arange(0, BK)
        values = tl.load(x[:, None] + k[None, :], mask=used[:, None] & (k < K)[None, :], other=0.0)
        total += tl.sum(values.to(tl.float32), axis=1)
    mean = total / K
    square = tl.zeros((BM,), tl.float32)
    for first in range(0, K, BK):
        k = first + tl.arange(0, BK)
        values = tl.load(x[:, None] + k[None, :], mask=used[:, None] & (k < K)[None, :], other=0.0)
        off = tl.where((k < K)[None, :], values.to(tl.float32) - mean[:, None], 0.0)
        square += tl.sum(off * off, axis=1)
    return mean, 1.0 / tl.sqrt_rn(square / K + 1e-5)


@jit
def product(
    slots: tl.tensor,
    x: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    norm: tl.tensor,
    y: tl.tensor,
    X_STRIDE: tl.constexpr,
    Y_STRIDE: tl.constexpr,
    X_BY_SLOT: tl.constexpr,
    Y_BY_SLOT: tl.constexpr,
    N: tl.constexpr,
    K: tl.constexpr,
    HAS_NORM: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ADD: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
) -> None:
    """Compute ``y[m, n] = activation(bias[n] + sum over k of norm(x)[m, k] · weight[n, k] + y[m, n] if ADD)``.

    A program computes BM rows and BN outputs. Rows of ``x`` and ``y`` are those of the batch, or of slots.
    """
    first_row = tl.program_id(0) * BM
    if tl.load(slots + first_row) < 0:
        return
    m = first_row + tl.arange(0, BM)
    slot = tl.load(slots + m)
    used = slot >= 0
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    x_row = x + (slot if X_BY_SLOT else m).to(tl.int64) * X_STRIDE
    y_row = y + (slot if Y_BY_SLOT else m).to(tl.int64) * Y_STRIDE
    if HAS_NORM:
        mean, scale = moments(x_row, used, K, BM, BK)
    total = tl.zeros((BM, BN), tl.float32)
    if HAS_BIAS:
        total += tl.load(bias + n, mask=n < N, other=0.0)[None, :]
    for first in range(0, K, BK):
        k = first + tl.arange(0, BK)
        a = tl.load(x_row[:, None] + k[None, :], mask=used[:, None] & (k < K)[None, :], other=0.0)
        if HAS_NORM:
            by = tl.load(norm + k, mask=k < K, other=0.0)
            a = (a.to(tl.float32) - mean[:, None]) * scale[:, None] * by[None, :]
        b = tl.load(weight + n[None, :] * K + k[:, None], mask=(n < N)[None, :] & (k < K)[:, None], other=0.0)
        total = tl.dot(a.to(b.dtype), b, total, input_precision="ieee")
    where = y_row[:, None] + n[None, :]
    mask = used[:, None] & (n < N)[None, :]
    if ADD:
        total += tl.load(where, mask=mask, other=0.0).to(tl.float32)
    tl.store(where, activated(total, ACTIVATION).to(y.dtype.element_ty), mask=mask)


@jit
def join(
    slots: tl.tensor,
    codes: tl.tensor,
    table: tl.tensor,
    x: tl.tensor,
    norm: tl.tensor,
    y: tl.tensor,
    CODES_STRIDE: tl.constexpr,
    X_STRIDE: tl.constexpr,
    Y_STRIDE: tl.constexpr,
    Y_BY_SLOT: tl.constexpr,
    CODE_WIDTH: tl.constexpr,
    WIDTH: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
) -> None:
    """Write each row's entry in ``table``, CODE_WIDTH numbers, and behind it the norm of x, WIDTH numbers.

    A program computes BM rows; ``codes`` has the entries' numbers. A CODE_WIDTH or WIDTH of 0 leaves that part out.
    """
    first_row = tl.program_id(0) * BM
    if tl.load(slots + first_row) < 0:
        return
    m = first_row + tl.arange(0, BM)
    slot = tl.load(slots + m)
    used = slot >= 0
    y_row = y + (slot if Y_BY_SLOT else m).to(tl.int64) * Y_STRIDE
    if CODE_WIDTH > 0:
        code = tl.load(codes + m * CODES_STRIDE, mask=used, other=0)
        for first in range(0, CODE_WIDTH, BK):
            k = first + tl.arange(0, BK)
            mask = used[:, None] & (k < CODE_WIDTH)[None, :]
            tl.store(
                y_row[:, None] + k[None, :],
                tl.load(table + code[:, None] * CODE_WIDTH + k[None, :], mask=mask, other=0.0),
                mask=mask,
            )
    if WIDTH > 0:
        x_row = x + m.to(tl.int64) * X_STRIDE
        mean, scale = moments(x_row, used, WIDTH, BM, BK)
        for first in range(0, WIDTH, BK):
            k = first + tl.arange(0, BK)
            mask = used[:, None] & (k < WIDTH)[None, :]
            values = tl.load(x_row[:, None] + k[None, :], mask=mask, other=0.0).to(tl.float32)
            by = tl.load(norm + k, mask=k < WIDTH, other=0.0)
            tl.store(
                y_row[:, None] + (CODE_WIDTH + k)[None, :],
                (values - mean[:, None]) * scale[:, None] * by[None, :],
                mask=mask,
            )
