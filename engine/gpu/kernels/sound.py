"""The codec's last convolution, from its channels to samples."""

from __future__ import annotations

from whispergpt.engine.gpu.kernels.window import window
from whispergpt.engine.gpu.language import jit, tl


@jit
def sound(
    slots: tl.tensor,
    x: tl.tensor,
    state: tl.tensor,
    cold: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    audio: tl.tensor,
    SAMPLES: tl.constexpr,
    HELD: tl.constexpr,
    WIDTH: tl.constexpr,
    TAPS: tl.constexpr,
    MIRRORED: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
) -> None:
    """Compute ``BM`` samples in float32, which are numbered in one line for all rows, ``SAMPLES`` a row.

    ``weight`` is ``[TAPS, WIDTH]``; each channel is summed over the taps in order, and then the channels.
    """
    t = tl.program_id(0) * BM + tl.arange(0, BM)
    if tl.load(slots + tl.program_id(0) * BM // SAMPLES) < 0:
        return
    row = t // SAMPLES
    slot = tl.load(slots + row)[:, None]
    c = tl.arange(0, BC)
    wanted = (c < WIDTH)[None, :]
    start = (t % SAMPLES - (TAPS - 1)) * WIDTH
    total = tl.zeros((BM, BC), tl.float32)
    for tap in tl.static_range(TAPS):
        place = (start + tap * WIDTH)[:, None] + c[None, :]
        before = (TAPS - 1) * WIDTH
        seen = window(
            x, state, cold, row[:, None], slot, place, wanted, SAMPLES * WIDTH, before, HELD, WIDTH, True, MIRRORED
        )
        total += seen * tl.load(weight + tap * WIDTH + c, mask=c < WIDTH, other=0.0)[None, :]
    tl.store(audio + t, tl.sum(total, axis=1) + tl.load(bias))


@jit
def to_16_bits(
    slots: tl.tensor,
    audio: tl.tensor,
    samples: tl.tensor,
    finite: tl.tensor,
    SAMPLES: tl.constexpr,
    BM: tl.constexpr,
    BT: tl.constexpr,
) -> None:
    """Convert ``BM`` rows of ``SAMPLES`` to int16, clipped at full scale; ``finite`` is 1 if all of a row are."""
    first_row = tl.program_id(0) * BM
    if tl.load(slots + first_row) < 0:
        return
    row = first_row + tl.arange(0, BM)
    t = tl.arange(0, BT)
    at = row[:, None] * SAMPLES + t[None, :]
    inside = (t < SAMPLES)[None, :]
    value = tl.load(audio + at, mask=inside, other=0.0)
    # A difference with itself is 0 for finite numbers and NaN for all others.
    wrong = tl.sum(tl.where(value - value == 0.0, 0, 1), axis=1)
    tl.store(finite + row, (wrong == 0).to(tl.uint8))
    scaled = tl.minimum(tl.maximum(value, -1.0), 1.0) * 32767.0
    # Adding and subtracting 1.5 · 2^23 rounds to the nearest whole number, of two equally near to the even one.
    tl.store(samples + at, ((scaled + 12582912.0) - 12582912.0).to(tl.int16), mask=inside)
