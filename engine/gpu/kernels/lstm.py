"""One layer of the codec's LSTM for one frame: the product of its gates and the cell, in one kernel."""

from __future__ import annotations

from whispergpt.engine.gpu.kernels.functions import hyperbolic_tangent, sigmoid
from whispergpt.engine.gpu.language import jit, tl


@jit
def joined(
    x: tl.tensor,
    hidden: tl.tensor,
    out: tl.tensor,
    own: tl.tensor,
    held: tl.tensor,
    used: tl.tensor,
    k: tl.tensor,
    FIRST: tl.constexpr,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """Return numbers k of each row's input and, behind it, its earlier hidden vector; ``lstm`` says where they lie."""
    fresh = tl.load(x + own[:, None] + k[None, :], mask=(k < WIDTH)[None, :], other=0.0).to(tl.float32)
    known = ((k >= WIDTH) & (k < 2 * WIDTH))[None, :]
    if FIRST:
        earlier = tl.load(hidden + held[:, None] + (k - WIDTH)[None, :], mask=known & used[:, None], other=0.0)
    else:
        earlier = tl.load(out + (own - WIDTH)[:, None] + (k - WIDTH)[None, :], mask=known, other=0.0)
    return fresh + earlier  # one of them is 0


@jit
def lstm(
    slots: tl.tensor,
    x: tl.tensor,
    hidden: tl.tensor,
    cell: tl.tensor,
    frames: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    skip: tl.tensor,
    total: tl.tensor,
    frame: int,
    FIRST: tl.constexpr,
    FRAMES: tl.constexpr,
    WIDTH: tl.constexpr,
    HELD: tl.constexpr,
    COUNTED: tl.constexpr,
    LAST: tl.constexpr,
    BM: tl.constexpr,
    BU: tl.constexpr,
    BK: tl.constexpr,
) -> None:
    """Compute ``BU`` units of ``BM`` rows: ``out``, and the new cell in the state.

    ``x``, ``out``, ``skip`` and ``total`` are ``[rows, FRAMES, WIDTH]``. ``hidden`` and ``cell`` point at this layer of
    the states ``[slots, layers, WIDTH]``, ``HELD`` numbers from slot to slot. The earlier hidden vector is in the state
    for the FIRST frame, and in ``out`` for others. ``weight`` is ``[2 · WIDTH, 4 · WIDTH]``, gates in torch's order:
    write, forget, new, show. With LAST, ``total`` becomes ``skip + out``. With COUNTED, a row has ``frames`` frames,
    and its cell stays as it is after them.
    """
    if tl.load(slots + tl.program_id(0) * BM) < 0:
        return
    row, u = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1) * BU + tl.arange(0, BU)
    inside = u < WIDTH
    slot = tl.load(slots + row)
    used, held = slot >= 0, slot.to(tl.int64) * HELD
    own = (row * FRAMES + frame) * WIDTH
    write = tl.zeros((BM, BU), tl.float32) + tl.load(bias + u, mask=inside, other=0.0)[None, :]
    forget = tl.zeros((BM, BU), tl.float32) + tl.load(bias + WIDTH + u, mask=inside, other=0.0)[None, :]
    new = tl.zeros((BM, BU), tl.float32) + tl.load(bias + 2 * WIDTH + u, mask=inside, other=0.0)[None, :]
    show = tl.zeros((BM, BU), tl.float32) + tl.load(bias + 3 * WIDTH + u, mask=inside, other=0.0)[None, :]
    for first in range(0, 2 * WIDTH, BK):
        k = first + tl.arange(0, BK)
        a = joined(x, hidden, out, own, held, used, k, FIRST, WIDTH).to(weight.dtype.element_ty)
        w, read = weight + k[:, None] * (4 * WIDTH) + u[None, :], (k < 2 * WIDTH)[:, None] & inside[None, :]
        write = tl.dot(a, tl.load(w, mask=read, other=0.0), write, input_precision="ieee")
        forget = tl.dot(a, tl.load(w + WIDTH, mask=read, other=0.0), forget, input_precision="ieee")
        new = tl.dot(a, tl.load(w + 2 * WIDTH, mask=read, other=0.0), new, input_precision="ieee")
        show = tl.dot(a, tl.load(w + 3 * WIDTH, mask=read, other=0.0), show, input_precision="ieee")
    keeps = used[:, None] & inside[None, :]
    place = cell + held[:, None] + u[None, :]
    made = sigmoid(forget) * tl.load(place, mask=keeps, other=0.0) + sigmoid(write) * hyperbolic_tangent(new)
    shown = sigmoid(show) * hyperbolic_tangent(made)
    if COUNTED:
        keeps = keeps & (tl.load(frames + row) > frame)[:, None]
    tl.store(place, made, mask=keeps)
    at = own[:, None] + u[None, :]
    tl.store(out + at, shown, mask=inside[None, :])
    if LAST:
        tl.store(total + at, tl.load(skip + at, mask=inside[None, :], other=0.0) + shown, mask=inside[None, :])
