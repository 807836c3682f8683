"""The end of a frame: codes of lost streams, and counters."""

from __future__ import annotations

from whispergpt.engine.gpu.language import jit, tl


@jit
def finish(
    slots: tl.tensor,
    finite: tl.tensor,
    logits: tl.tensor,
    codes: tl.tensor,
    frame: tl.tensor,
    position: tl.tensor,
    HELD: tl.constexpr,
    SIZE: tl.constexpr,
    BOOKS: tl.constexpr,
    BB: tl.constexpr,
    LOST: tl.constexpr,
) -> None:
    """Advance the frame and the position of one row's slot.

    The row's codes become LOST where ``finite`` is 0, or where one of the slot's next logits ``[slots, SIZE]`` is not
    finite.
    """
    row = tl.program_id(0)
    slot = tl.load(slots + row).to(tl.int64)
    if slot < 0:
        return
    next_logits = tl.load(logits + slot * HELD + tl.arange(0, SIZE))
    # A difference with itself is 0 for finite numbers and NaN for all others.
    wrong = tl.sum(tl.where(next_logits - next_logits == 0.0, 0, 1), axis=0)
    wrong += tl.where(tl.load(finite + row) == 0, 1, 0)
    if wrong > 0:
        b = tl.arange(0, BB)
        tl.store(codes + row * BOOKS + b, tl.full((BB,), LOST, tl.int32), mask=b < BOOKS)
    tl.store(frame + slot, tl.load(frame + slot) + 1)
    tl.store(position + slot, tl.load(position + slot) + 1)
