"""Mel slices: magnitudes of a window's spectrum as products, then the filterbank and the logarithm.

The transform of a real window s of N samples needs only sums over N / 4 places. With y[n] = s[n] + s[n + N/2] for even
bins and z[n] = s[n] - s[n + N/2] for odd ones:

    X[2j]     = Σ (y[n] + y[N/2-n]) cos(4πjn/N) - i Σ (y[n] - y[N/2-n]) sin(4πjn/N) + (-1)^j y[N/4]
    X[2j + 1] = Σ (z[n] - z[N/2-n]) cos(2π(2j+1)n/N) - i Σ (z[n] + z[N/2-n]) sin(2π(2j+1)n/N) - i (-1)^j z[N/4]

for n from 0 to N/4 - 1, where the mirrored term of n = 0 is left out. That is an eighth of a plain transform's
multiplications. The highest bin, N/2, is left out too: no band reaches it.
"""

from __future__ import annotations

from whispergpt.engine.gpu.language import jit, tl


@jit
def shaped(
    audio: tl.tensor,
    tail: tl.tensor,
    shape: tl.tensor,
    start: tl.tensor,
    shift: tl.tensor,
    held: tl.tensor,
    wanted: tl.tensor,
    place: tl.tensor,
    HISTORY: tl.constexpr,
) -> tl.tensor:
    """Return samples ``place`` of the windows that end with frames, times the window's shape; 0 if not ``wanted``.

    A row's new samples begin at ``audio + start`` and its frame's ``shift`` later. The ``HISTORY`` samples before the
    new ones are at ``tail + held``.
    """
    at = shift + place - HISTORY
    fresh = tl.load(audio + start + at, mask=wanted & (at >= 0), other=0.0)
    earlier = tl.load(tail + held + (HISTORY + at), mask=wanted & (at < 0), other=0.0)
    return (fresh + earlier) * tl.load(shape + place)  # one of them is 0


@jit
def magnitudes(
    slots: tl.tensor,
    audio: tl.tensor,
    tail: tl.tensor,
    shape: tl.tensor,
    cosine: tl.tensor,
    sine: tl.tensor,
    bins: tl.tensor,
    FRAMES: tl.constexpr,
    HOP: tl.constexpr,
    HELD: tl.constexpr,
    SIZE: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
) -> None:
    """Compute ``BN`` of the magnitudes ``bins`` ``[frames, SIZE/2]`` of ``BM`` frames: even bins, then odd ones.

    ``shape`` has ``SIZE + 1`` numbers; ``tail`` is state, ``HELD`` numbers from slot to slot. ``cosine`` and ``sine``
    are ``[2, SIZE/4, SIZE/4]``: parity of the bin, place n, number j of the bin.
    """
    HISTORY: tl.constexpr = SIZE - HOP
    HALF: tl.constexpr = SIZE // 2
    QUARTER: tl.constexpr = SIZE // 4
    first_frame = tl.program_id(0) * BM
    if tl.load(slots + first_frame // FRAMES) < 0:
        return
    m = first_frame + tl.arange(0, BM)
    row, frame = m // FRAMES, m % FRAMES
    slot = tl.load(slots + row)
    used = (slot >= 0)[:, None]
    start = (row * (FRAMES * HOP))[:, None]
    shift = (frame * HOP)[:, None]
    held = slot.to(tl.int64)[:, None] * HELD
    odd = tl.program_id(1) * BN // QUARTER
    sign = 1.0 - 2.0 * odd
    j = tl.program_id(1) * BN % QUARTER + tl.arange(0, BN)
    alternating = 1.0 - 2.0 * (j % 2).to(tl.float32)
    middle = shaped(audio, tail, shape, start, shift, held, used, QUARTER, HISTORY)
    middle += sign * shaped(audio, tail, shape, start, shift, held, used, QUARTER + HALF, HISTORY)
    re = (1 - odd) * middle * alternating[None, :]
    im = odd * middle * alternating[None, :]
    for first in range(0, QUARTER, BK):
        n = (first + tl.arange(0, BK))[None, :]
        mirrored = used & (n > 0)
        one = shaped(audio, tail, shape, start, shift, held, used, n, HISTORY)
        one += sign * shaped(audio, tail, shape, start, shift, held, used, n + HALF, HISTORY)
        other = shaped(audio, tail, shape, start, shift, held, mirrored, HALF - n, HISTORY)
        other += sign * shaped(audio, tail, shape, start, shift, held, mirrored, SIZE - n, HISTORY)
        table = (odd * QUARTER + first + tl.arange(0, BK))[:, None] * QUARTER + j[None, :]
        re = tl.dot(one + sign * other, tl.load(cosine + table), re, input_precision=PRECISION)
        im = tl.dot(one - sign * other, tl.load(sine + table), im, input_precision=PRECISION)
    size = tl.sqrt(re * re + im * im)
    tl.store(bins + m[:, None] * HALF + (odd * QUARTER + j)[None, :], size)


@jit
def bands(
    slots: tl.tensor,
    bins: tl.tensor,
    bank: tl.tensor,
    slices: tl.tensor,
    FRAMES: tl.constexpr,
    K: tl.constexpr,
    N: tl.constexpr,
    FLOOR: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
) -> None:
    """Compute ``BN`` bands of ``BM`` frames: ``(log10(max(bins · bank, FLOOR)) + 1) / 2``, with ``bank`` ``[K, N]``."""
    if tl.load(slots + tl.program_id(0) * BM // FRAMES) < 0:
        return
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    total = tl.zeros((BM, BN), tl.float32)
    for first in range(0, K, BK):
        k = first + tl.arange(0, BK)
        a = tl.load(bins + m[:, None] * K + k[None, :])
        b = tl.load(bank + k[:, None] * N + n[None, :], mask=(n < N)[None, :], other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
    decades = tl.log(tl.maximum(total, FLOOR)) * 0.4342944819
    tl.store(
        slices + m[:, None] * N + n[None, :], ((decades + 1.0) * 0.5).to(slices.dtype.element_ty), mask=(n < N)[None, :]
    )
