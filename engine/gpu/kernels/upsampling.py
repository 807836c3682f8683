"""A stage of the decoder in one kernel: a transposed convolution and the residual unit behind it.

The signal between the two never leaves the program. The residual unit sees two samples before each of its own. Where
these come from the input sample before, they are computed again: two samples beside ``STRIDE`` of them.
"""

from __future__ import annotations

from whispergpt.engine.gpu.kernels.functions import elu
from whispergpt.engine.gpu.kernels.window import window
from whispergpt.engine.gpu.language import jit, tl


@jit
def transposed(
    x: tl.tensor,
    previous: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    row: tl.tensor,
    slot: tl.tensor,
    start: tl.tensor,
    wanted: tl.tensor,
    phase: tl.tensor,
    n: tl.tensor,
    ROW: tl.constexpr,
    HELD: tl.constexpr,
    INPUTS: tl.constexpr,
    WIDTH: tl.constexpr,
    STRIDE: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
    BK: tl.constexpr,
) -> tl.tensor:
    """Return output ``phase`` of a transposed convolution ``[BM, BC]``, of the two input samples from ``start`` on."""
    shift = tl.load(bias + phase * WIDTH + n, mask=n < WIDTH, other=0.0)
    total = tl.zeros((BM, BC), tl.float32) + shift[None, :]
    for first in range(0, 2 * INPUTS, BK):
        k = first + tl.arange(0, BK)
        place = start[:, None] + k[None, :]
        known = wanted[:, None] & (k < 2 * INPUTS)[None, :]
        a = window(x, previous, x, row[:, None], slot[:, None], place, known, ROW, INPUTS, HELD, INPUTS, True, False)
        at = k[:, None] * (STRIDE * WIDTH) + phase * WIDTH + n[None, :]
        b = tl.load(weight + at, mask=(k < 2 * INPUTS)[:, None] & (n < WIDTH)[None, :], other=0.0)
        total = tl.dot(a.to(b.dtype), b, total, input_precision="ieee")
    return total


@jit
def block_of(weight: tl.tensor, k: tl.tensor, n: tl.tensor, K: tl.constexpr, N: tl.constexpr) -> tl.tensor:
    """Return a matrix ``[K, N]`` filled up with zeros to the sizes of ``k`` and ``n``."""
    return tl.load(weight + k[:, None] * N + n[None, :], mask=(k < K)[:, None] & (n < N)[None, :], other=0.0)


@jit
def upsampling(
    slots: tl.tensor,
    x: tl.tensor,
    previous: tl.tensor,
    context: tl.tensor,
    counts: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    inner: tl.tensor,
    inner_bias: tl.tensor,
    shortcut: tl.tensor,
    back: tl.tensor,
    sum_bias: tl.tensor,
    y: tl.tensor,
    end: tl.tensor,
    SAMPLES: tl.constexpr,
    FRAMES: tl.constexpr,
    COUNTED: tl.constexpr,
    STRIDE: tl.constexpr,
    HELD: tl.constexpr,
    KEPT: tl.constexpr,
    INPUTS: tl.constexpr,
    WIDTH: tl.constexpr,
    HIDDEN: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
    BH: tl.constexpr,
    BK: tl.constexpr,
) -> None:
    """Compute the ``STRIDE`` samples ``y`` behind each of ``BM`` input samples, which have ``INPUTS`` channels.

    ``x`` is ``[rows, SAMPLES, INPUTS]`` and goes through ELU; ``y`` has ``WIDTH`` channels. ``weight`` is ``[2 ·
    INPUTS, STRIDE · WIDTH]``, ``inner`` ``[3 · WIDTH, HIDDEN]``, ``shortcut`` ``[WIDTH, WIDTH]`` and ``back``
    ``[HIDDEN, WIDTH]``; ``sum_bias`` is the sum of the biases of the last two. The states ``previous`` ``[slots,
    INPUTS]`` and ``context`` ``[slots, 2, WIDTH]`` are read, ``HELD`` and ``KEPT`` numbers from slot
    to slot. ``end`` ``[rows, 2, WIDTH]`` receives what ``context`` is to keep. With COUNTED, a row has ``counts`` of
    ``FRAMES`` frames.
    """
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    if tl.load(slots + tl.program_id(0) * BM // SAMPLES) < 0:
        return
    row, t = m // SAMPLES, m % SAMPLES
    slot = tl.load(slots + row)
    n, h = tl.arange(0, BC), tl.arange(0, BH)
    inside = (n < WIDTH)[None, :]
    if COUNTED:
        last = tl.load(counts + row) * (SAMPLES // FRAMES) - 1
    else:
        last = tl.zeros((BM,), tl.int32) + (SAMPLES - 1)
    ROW: tl.constexpr = SAMPLES * INPUTS
    later, always = t > 0, t >= 0
    held = context + slot.to(tl.int64)[:, None] * KEPT + n[None, :]
    from_state = ((t == 0) & (slot >= 0))[:, None] & inside
    start = (t - 2) * INPUTS
    second = transposed(
        x, previous, weight, bias, row, slot, start, later, STRIDE - 2, n, ROW, HELD, INPUTS, WIDTH, STRIDE, BM, BC, BK
    )
    second = tl.where(later[:, None], elu(second), tl.load(held, mask=from_state, other=0.0)).to(
        weight.dtype.element_ty
    )
    first = transposed(
        x, previous, weight, bias, row, slot, start, later, STRIDE - 1, n, ROW, HELD, INPUTS, WIDTH, STRIDE, BM, BC, BK
    )
    first = tl.where(later[:, None], elu(first), tl.load(held + WIDTH, mask=from_state, other=0.0))
    first = first.to(weight.dtype.element_ty)
    hidden_bias = tl.load(inner_bias + h, mask=h < HIDDEN, other=0.0)[None, :]
    out_bias = tl.load(sum_bias + n, mask=n < WIDTH, other=0.0)[None, :]
    start = (t - 1) * INPUTS
    for phase in range(STRIDE):
        now = transposed(
            x, previous, weight, bias, row, slot, start, always, phase, n, ROW, HELD, INPUTS, WIDTH, STRIDE, BM, BC, BK
        )
        seen = elu(now)
        ending = (t == last)[:, None] & inside & (phase >= STRIDE - 2)
        tl.store(end + (row * 2 + (phase - (STRIDE - 2)))[:, None] * WIDTH + n[None, :], seen, mask=ending)
        rounded = seen.to(weight.dtype.element_ty)
        hidden = tl.zeros((BM, BH), tl.float32) + hidden_bias
        hidden = tl.dot(second, block_of(inner, n, h, WIDTH, HIDDEN), hidden, input_precision="ieee")
        one = inner + WIDTH * HIDDEN
        hidden = tl.dot(first, block_of(one, n, h, WIDTH, HIDDEN), hidden, input_precision="ieee")
        two = inner + 2 * WIDTH * HIDDEN
        hidden = tl.dot(rounded, block_of(two, n, h, WIDTH, HIDDEN), hidden, input_precision="ieee")
        total = tl.zeros((BM, BC), tl.float32) + out_bias
        of_now = now.to(weight.dtype.element_ty)
        total = tl.dot(of_now, block_of(shortcut, n, n, WIDTH, WIDTH), total, input_precision="ieee")
        of_hidden = elu(hidden).to(weight.dtype.element_ty)
        total = tl.dot(of_hidden, block_of(back, h, n, HIDDEN, WIDTH), total, input_precision="ieee")
        at = (m * STRIDE + phase)[:, None] * WIDTH + n[None, :]
        tl.store(y + at, total.to(y.dtype.element_ty), mask=inside)
        second, first = first, rounded
