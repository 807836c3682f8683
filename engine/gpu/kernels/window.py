"""The input of a convolution: for each output sample, all samples of its stream that it sees."""

from __future__ import annotations

from whispergpt.engine.gpu.kernels.functions import elu
from whispergpt.engine.gpu.language import jit, tl


@jit
def window(
    x: tl.tensor,
    state: tl.tensor,
    cold: tl.tensor,
    row: tl.tensor,
    slot: tl.tensor,
    place: tl.tensor,
    wanted: tl.tensor,
    ROW: tl.constexpr,
    BEFORE: tl.constexpr,
    HELD: tl.constexpr,
    WIDTH: tl.constexpr,
    THROUGH_ELU: tl.constexpr,
    MIRRORED: tl.constexpr,
) -> tl.tensor:
    """Return numbers of a signal ``[rows, samples, WIDTH]`` behind its context, float32 where ``wanted``, else 0.

    ``place`` counts a row's numbers from its first new sample on. Those before it, down to ``-BEFORE``, are in the
    state, already through ELU, ``HELD`` numbers from slot to slot. With MIRRORED, rows where ``cold`` is set have the
    mirror image of their first new samples there instead: reflection padding.
    """
    fresh = place >= 0
    source = place
    if MIRRORED:
        first = (tl.load(cold + row) != 0) & (place < 0)
        back = (WIDTH - 1 - place) // WIDTH  # samples before the first one
        source = tl.where(first, place + 2 * back * WIDTH, place)
        fresh = fresh | first
    found = tl.load(x + row * ROW + source, mask=wanted & fresh, other=0.0).to(tl.float32)
    if THROUGH_ELU:
        found = elu(found)
    if BEFORE > 0:
        held = slot.to(tl.int64) * HELD + (BEFORE + place)
        earlier = tl.load(state + held, mask=wanted & (place < 0) & (slot >= 0) & (fresh == 0), other=0.0)
        found = tl.where(fresh, found, earlier)
    return found
