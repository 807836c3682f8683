"""The end of a frame: samples in 16 bits, codes of lost streams, and counters."""

from __future__ import annotations

from whispergpt.engine.gpu.language import Pointer, jit, tl


@jit
def finish(
    slots: Pointer,
    audio: Pointer,
    logits: Pointer,
    samples: Pointer,
    codes: Pointer,
    frame: Pointer,
    position: Pointer,
    AUDIO_STRIDE: tl.constexpr,
    TIMES: tl.constexpr,
    SIZE: tl.constexpr,
    BOOKS: tl.constexpr,
    BT: tl.constexpr,
    BB: tl.constexpr,
    LOST: tl.constexpr,
) -> None:
    """Convert one row's samples, and advance its slot's frame and position.

    The row's codes become LOST if a sample or one of the slot's next logits ``[slots, SIZE]`` is not finite.
    """
    row = tl.program_id(0)
    slot = tl.load(slots + row).to(tl.int64)
    if slot < 0:
        return
    t = tl.arange(0, BT)
    sound = tl.load(audio + row.to(tl.int64) * AUDIO_STRIDE + t, mask=t < TIMES, other=0.0).to(tl.float32)
    next_logits = tl.load(logits + slot * SIZE + tl.arange(0, SIZE))
    # A difference with itself is 0 for finite numbers and NaN for all others.
    lost = tl.sum(tl.where(sound - sound == 0.0, 0, 1), axis=0)
    lost += tl.sum(tl.where(next_logits - next_logits == 0.0, 0, 1), axis=0)
    scaled = tl.minimum(tl.maximum(sound, -1.0), 1.0) * 32767.0
    # Adding and subtracting 1.5 · 2^23 rounds to the nearest whole number, of two equally near to the even one.
    rounded = (scaled + 12582912.0) - 12582912.0
    tl.store(samples + row.to(tl.int64) * TIMES + t, rounded.to(tl.int16), mask=t < TIMES)
    if lost > 0:
        b = tl.arange(0, BB)
        tl.store(codes + row * BOOKS + b, tl.full((BB,), LOST, tl.int32), mask=b < BOOKS)
    tl.store(frame + slot, tl.load(frame + slot) + 1)
    tl.store(position + slot, tl.load(position + slot) + 1)
