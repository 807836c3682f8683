"""Attention of one position of each row over its slot's ring; rotation and the write into the ring are inside.

The current position's key and value take part from registers. Its place in the ring, which still has the oldest entry
or nothing, is left out of the loop, so that no program waits for its own write.
"""

from __future__ import annotations

from whispergpt.engine.gpu.language import jit, tl


@jit
def turned(
    x: tl.tensor, row: tl.tensor, d: tl.tensor, mask: tl.tensor, cosine: tl.tensor, sine: tl.tensor
) -> tl.tensor:
    """Return numbers d of the vectors at ``x + row``, each pair turned by its angle (arXiv 2104.09864)."""
    own = tl.load(x + row + d, mask=mask, other=0.0).to(tl.float32)
    other = tl.load(x + row + (d ^ 1), mask=mask, other=0.0).to(tl.float32)
    return tl.where(d % 2 == 0, own * cosine - other * sine, other * sine + own * cosine)


@jit
def attention(
    slots: tl.tensor,
    heads: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    position: tl.tensor,
    cosine: tl.tensor,
    sine: tl.tensor,
    out: tl.tensor,
    HEADS_STRIDE: tl.constexpr,
    OUT_STRIDE: tl.constexpr,
    RING_STRIDE: tl.constexpr,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
    WINDOW: tl.constexpr,
    PERIOD: tl.constexpr,
    SCALE: tl.constexpr,
    BG: tl.constexpr,
    BD: tl.constexpr,
    BP: tl.constexpr,
) -> None:
    """Compute the GROUP heads of one row that share a key and a value, and keep these in the ring.

    ``heads``: queries, then keys, then values of a row, of WIDTH numbers each. ``keys`` and ``values``: rings
    ``[slots, KV_HEADS, WINDOW, WIDTH]``. The softmax is computed as the places come, BP at a time (arXiv 2205.14135).
    BG and BD are GROUP and WIDTH rounded up to what a product takes.
    """
    row = tl.program_id(0)
    slot = tl.load(slots + row).to(tl.int64)
    if slot < 0:
        return
    shared = tl.program_id(1)
    at = tl.load(position + slot)
    place = at % WINDOW
    filled = tl.minimum(at + 1, WINDOW).to(tl.int32)
    d = tl.arange(0, BD)
    within = d < WIDTH
    angle = (at % PERIOD) * (WIDTH // 2) + d // 2
    c = tl.load(cosine + angle, mask=within, other=0.0)
    s = tl.load(sine + angle, mask=within, other=0.0)
    start = heads + row.to(tl.int64) * HEADS_STRIDE
    g = tl.arange(0, BG)
    ours = (g < GROUP)[:, None] & within[None, :]
    head = (shared * GROUP + g) * WIDTH
    query = turned(start, head[:, None], d[None, :], ours, c[None, :], s[None, :]) * SCALE
    kind = keys.dtype.element_ty
    key = turned(start, (KV_HEADS * GROUP + shared) * WIDTH, d, within, c, s).to(kind)
    value = tl.load(start + (KV_HEADS * GROUP + KV_HEADS + shared) * WIDTH + d, mask=within, other=0.0).to(kind)
    ring = slot * RING_STRIDE + shared * (WINDOW * WIDTH)
    tl.store(keys + ring + place * WIDTH + d, key, mask=within)
    tl.store(values + ring + place * WIDTH + d, value, mask=within)
    query = query.to(kind)
    # Begin with the current position: its weight is exp(0) = 1 beside the largest score so far, its own.
    most = tl.sum(query.to(tl.float32) * key.to(tl.float32)[None, :], axis=1)
    total = tl.full((BG,), 1.0, tl.float32)
    mixed = tl.zeros((BG, BD), tl.float32) + value.to(tl.float32)[None, :]
    for first in range(0, filled, BP):
        p = first + tl.arange(0, BP)
        seen = (p < filled) & (p != place)
        entry = ring + p[:, None] * WIDTH + d[None, :]
        mask = seen[:, None] & within[None, :]
        k = tl.load(keys + entry, mask=mask, other=0.0)
        scores = tl.dot(query, tl.trans(k), input_precision="ieee")
        scores = tl.where(seen[None, :], scores, float("-inf"))
        larger = tl.maximum(most, tl.max(scores, axis=1))
        weights = tl.exp(scores - larger[:, None])
        shrink = tl.exp(most - larger)
        v = tl.load(values + entry, mask=mask, other=0.0)
        mixed = tl.dot(weights.to(kind), v, mixed * shrink[:, None], input_precision="ieee")
        total = total * shrink + tl.sum(weights, axis=1)
        most = larger
    result = (mixed / total[:, None]).to(out.dtype.element_ty)
    tl.store(out + row.to(tl.int64) * OUT_STRIDE + head[:, None] + d[None, :], result, mask=ours)
