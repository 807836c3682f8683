"""The end of a step of the codec: all that its next frame sees of this one goes into the state, in one launch."""

from __future__ import annotations

from whispergpt.engine.gpu.kernels.functions import elu
from whispergpt.engine.gpu.language import jit, tl


@jit
def contexts(
    slots: tl.tensor,
    table: tl.tensor,
    frames: tl.tensor,
    FRAMES: tl.constexpr,
    COUNTED: tl.constexpr,
    COLUMNS: tl.constexpr,
    BM: tl.constexpr,
    BW: tl.constexpr,
) -> None:
    """Keep the last numbers of one signal for ``BM`` rows: the state becomes the end of itself and the signal.

    A line of ``table`` is a signal: its address, numbers from row to row and new ones in a frame; the state's address,
    numbers from slot to slot and kept ones; whether the signal goes through ELU; whether it is bfloat16, else float32;
    whether it is only as long as the state, which it then replaces. With COUNTED, a row has ``frames`` frames, else
    FRAMES. States are float32.
    """
    if tl.load(slots + tl.program_id(0) * BM) < 0:
        return
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    slot = tl.load(slots + row)
    line = table + tl.program_id(1) * COLUMNS
    source, stride, fresh = tl.load(line), tl.load(line + 1), tl.load(line + 2)
    state = tl.load(line + 3).to(tl.pointer_type(tl.float32))
    slot_stride, size = tl.load(line + 4), tl.load(line + 5)
    through_elu, rounded, replaces = tl.load(line + 6), tl.load(line + 7), tl.load(line + 8)
    used = (slot >= 0)[:, None]
    if COUNTED:
        count = tl.load(frames + row)
        used = used & (count > 0)[:, None]
        new = (count.to(tl.int64) * fresh)[:, None]
    else:
        new = (tl.zeros((BM,), tl.int64) + FRAMES * fresh)[:, None]
    new = tl.where(replaces != 0, size, new)
    begin = row.to(tl.int64)[:, None] * stride
    held = slot.to(tl.int64)[:, None] * slot_stride
    for first in range(0, size, BW):
        i = (first + tl.arange(0, BW))[None, :]
        kept = used & (i < size)
        place = i + new - size
        if rounded != 0:
            signal = source.to(tl.pointer_type(tl.bfloat16))
            value = tl.load(signal + begin + place, mask=kept & (place >= 0), other=0.0).to(tl.float32)
        else:
            exact = source.to(tl.pointer_type(tl.float32))
            value = tl.load(exact + begin + place, mask=kept & (place >= 0), other=0.0)
        if through_elu != 0:
            value = elu(value)
        earlier = tl.load(state + held + i + new, mask=kept & (place < 0), other=0.0)
        # All threads have read before one writes; later blocks read what earlier ones do not write.
        tl.debug_barrier()
        tl.store(state + held + i, tl.where(place >= 0, value, earlier), mask=kept)
