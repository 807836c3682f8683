"""The codec's last convolution, from its channels to samples."""

from __future__ import annotations

from whispergpt.engine.gpu.kernels.window import window
from whispergpt.engine.gpu.language import Pointer, jit, tl


@jit
def sound(
    slots: Pointer,
    x: Pointer,
    state: Pointer,
    cold: Pointer,
    weight: Pointer,
    bias: Pointer,
    audio: Pointer,
    SAMPLES: tl.constexpr,
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
        seen = window(x, state, cold, row[:, None], slot, place, wanted, SAMPLES * WIDTH, before, WIDTH, True, MIRRORED)
        total += seen * tl.load(weight + tap * WIDTH + c, mask=c < WIDTH, other=0.0)[None, :]
    tl.store(audio + t, tl.sum(total, axis=1) + tl.load(bias))
