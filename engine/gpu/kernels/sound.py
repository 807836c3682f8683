"""Samples: the codec's last convolution, their conversion to 16 bits, and the limit of a stream's bandwidth."""

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
    numbers: tl.tensor,
    history: tl.tensor,
    filters: tl.tensor,
    samples: tl.tensor,
    finite: tl.tensor,
    SAMPLES: tl.constexpr,
    TAPS: tl.constexpr,
    FRACTION_BITS: tl.constexpr,
    BS: tl.constexpr,
    BH: tl.constexpr,
    BT: tl.constexpr,
) -> None:
    """Convert a row's SAMPLES to int16, clipped at full scale, and limit its bandwidth; ``finite`` is 1 if all are.

    Filter ``numbers[slot]`` follows, none if that is negative. ``history`` has the TAPS - 1 converted samples before
    these. Coefficients are whole numbers of 2^-FRACTION_BITS, the newest sample's first. BT divides SAMPLES.
    """
    row = tl.program_id(0)
    slot = tl.load(slots + row)
    if slot < 0:
        return
    s = tl.arange(0, BS)
    own = samples + row * SAMPLES
    value = tl.load(audio + row * SAMPLES + s, mask=s < SAMPLES, other=0.0)
    # A difference with itself is 0 for finite numbers and NaN for all others.
    wrong = tl.sum(tl.where(value - value == 0.0, 0, 1), axis=0)
    tl.store(finite + row, (wrong == 0).to(tl.uint8))
    scaled = tl.minimum(tl.maximum(value, -1.0), 1.0) * 32767.0
    # Adding and subtracting 1.5 · 2^23 rounds to the nearest whole number, of two equally near to the even one.
    tl.store(own + s, ((scaled + 12582912.0) - 12582912.0).to(tl.int16), mask=s < SAMPLES)
    number = tl.load(numbers + slot)
    if number < 0:
        return
    BEFORE: tl.constexpr = TAPS - 1
    HALF: tl.constexpr = 1 << (FRACTION_BITS - 1)
    held = history + slot.to(tl.int64) * BEFORE
    h = tl.arange(0, BH)
    t = tl.arange(0, BT)
    tl.debug_barrier()  # a thread reads samples that others wrote
    last = tl.load(own + SAMPLES - BEFORE + h, mask=h < BEFORE, other=0)
    # From the last block to the first: samples stay as they are until no other block needs them.
    for done in tl.static_range(0, SAMPLES, BT):
        first = SAMPLES - BT - done
        total = tl.zeros((BT,), tl.int64)
        for tap in range(TAPS):
            place = first + t - tap
            seen = tl.load(own + place, mask=place >= 0, other=0).to(tl.int64)
            if SAMPLES - BT - done < BEFORE:
                seen += tl.load(held + BEFORE + place, mask=place < 0, other=0).to(tl.int64)
            total += seen * tl.load(filters + number * TAPS + tap).to(tl.int64)
        # To the nearest whole number, of two equally near to the even one.
        whole = total >> FRACTION_BITS
        rest = total - (whole << FRACTION_BITS)
        whole += tl.where((rest > HALF) | ((rest == HALF) & (whole % 2 != 0)), 1, 0)
        tl.debug_barrier()  # all threads have read what is overwritten now
        tl.store(own + first + t, tl.minimum(tl.maximum(whole, -32768), 32767).to(tl.int16))
    tl.store(held + h, last, mask=h < BEFORE)
