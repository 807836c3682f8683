"""The fine stage: all finer codes of a block of rows in one kernel (``engine/model/fine_stage.py`` defines them).

Each level needs the code of the level before it, so a program computes all levels for its rows. Vectors that a product
reads in parts go through a scratch space of the program's own rows, which stays in the cache. A barrier lies between
their writing and reading.
"""

from __future__ import annotations

from whispergpt.engine.gpu.kernels.draw import gumbel_noise, noise_key
from whispergpt.engine.gpu.kernels.functions import gelu
from whispergpt.engine.gpu.language import jit, tl


@jit
def chain(
    total: tl.tensor,
    x: tl.tensor,
    weight: tl.tensor,
    n: tl.tensor,
    used: tl.tensor,
    N: tl.constexpr,
    K: tl.constexpr,
    BK: tl.constexpr,
) -> tl.tensor:
    """Return ``total`` plus rows at the addresses ``x`` ``[BM]`` times outputs n of a weight ``[N, K]``."""
    for first in range(0, K, BK):
        k = first + tl.arange(0, BK)
        a = tl.load(x[:, None] + k[None, :], mask=used[:, None] & (k < K)[None, :], other=0.0)
        b = tl.load(weight + n[None, :] * K + k[:, None], mask=(n < N)[None, :] & (k < K)[:, None], other=0.0)
        total = tl.dot(a.to(b.dtype), b, total, input_precision="ieee")
    return total


@jit
def latent_part(
    latent: tl.tensor, weight: tl.tensor, bias: tl.tensor, n: tl.tensor, d: tl.tensor, N: tl.constexpr, D: tl.constexpr
) -> tl.tensor:
    """Return outputs n, ``[BM, BN]``, of the product of ``latent`` ``[BM, BD]`` with a weight ``[N, D]``."""
    b = tl.load(weight + n[None, :] * D + d[:, None], mask=(n < N)[None, :] & (d < D)[:, None], other=0.0)
    start = tl.load(bias + n, mask=n < N, other=0.0)
    total = tl.zeros((latent.shape[0], n.shape[0]), tl.float32) + start[None, :]
    return tl.dot(latent.to(b.dtype), b, total, input_precision="ieee")


@jit
def finer_codes(
    slots: tl.tensor,
    hidden: tl.tensor,
    previous: tl.tensor,
    codes: tl.tensor,
    latents: tl.tensor,
    seed: tl.tensor,
    frame: tl.tensor,
    temperature: tl.tensor,
    hidden_weight: tl.tensor,
    previous_weight: tl.tensor,
    latent_weight: tl.tensor,
    latent_bias: tl.tensor,
    up_weight: tl.tensor,
    up_bias: tl.tensor,
    query_weight: tl.tensor,
    query_bias: tl.tensor,
    code_bias: tl.tensor,
    entries: tl.tensor,
    table: tl.tensor,
    context: tl.tensor,
    state: tl.tensor,
    raised: tl.tensor,
    HIDDEN: tl.constexpr,
    WIDTH: tl.constexpr,
    DIMENSION: tl.constexpr,
    LEVELS: tl.constexpr,
    SIZE: tl.constexpr,
    HEAT: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    BD: tl.constexpr,
    BC: tl.constexpr,
) -> None:
    """Draw codes 1 to LEVELS of BM rows behind their coarse codes, and add up the entries of all codes.

    ``hidden`` ``[slots, HIDDEN]`` and ``previous`` ``[slots, DIMENSION]`` are state; the latter becomes this frame's
    latent, which ``latents`` ``[rows, DIMENSION]`` gets too. Weights of all levels lie behind one another:
    ``latent_weight`` ``[LEVELS, WIDTH, DIMENSION]`` and so on. ``entries`` ``[LEVELS, SIZE, DIMENSION]`` are those of
    the finer codebooks in the format of products, ``table`` ``[LEVELS + 1, SIZE, DIMENSION]`` all in float32.
    ``context``, ``state`` and ``raised`` ``[rows, WIDTH]`` are scratch. HEAT: temperature of the finer codes.
    """
    first_row = tl.program_id(0) * BM
    if tl.load(slots + first_row) < 0:
        return
    m = first_row + tl.arange(0, BM)
    slot = tl.load(slots + m).to(tl.int64)
    used = slot >= 0
    d = tl.arange(0, BD)
    whole = used[:, None] & (d < DIMENSION)[None, :]
    scratch = m * WIDTH
    for first in range(0, WIDTH, BN):
        n = first + tl.arange(0, BN)
        total = tl.zeros((BM, BN), tl.float32)
        total = chain(total, hidden + slot * HIDDEN, hidden_weight, n, used, WIDTH, HIDDEN, BK)
        more = tl.zeros((BM, BN), tl.float32)
        more = chain(more, previous + slot * DIMENSION, previous_weight, n, used, WIDTH, DIMENSION, BK)
        tl.store(context + scratch[:, None] + n[None, :], more + total, mask=used[:, None] & (n < WIDTH)[None, :])
    tl.debug_barrier()
    own_heat = tl.where(tl.load(temperature + slot, mask=used, other=0.0) > 0, HEAT, 0.0)
    of_frame = tl.load(frame + slot, mask=used, other=0)
    of_stream = tl.load(seed + slot, mask=used, other=0)
    code = tl.load(codes + m * (LEVELS + 1), mask=used, other=0)
    latent = tl.load(table + code[:, None] * DIMENSION + d[None, :], mask=whole, other=0.0)
    for level in range(LEVELS):
        for first in range(0, WIDTH, BN):
            n = first + tl.arange(0, BN)
            where = scratch[:, None] + n[None, :]
            mask = used[:, None] & (n < WIDTH)[None, :]
            x = latent_part(
                latent, latent_weight + level * WIDTH * DIMENSION, latent_bias + level * WIDTH, n, d, WIDTH, DIMENSION
            )
            x = gelu(x + tl.load(context + where, mask=mask, other=0.0))
            tl.store(state + where, x, mask=mask)
        tl.debug_barrier()
        for first in range(0, WIDTH, BN):
            n = first + tl.arange(0, BN)
            where = scratch[:, None] + n[None, :]
            mask = used[:, None] & (n < WIDTH)[None, :]
            total = tl.zeros((BM, BN), tl.float32)
            total += tl.load(up_bias + level * WIDTH + n, mask=n < WIDTH, other=0.0)[None, :]
            total = chain(total, state + scratch, up_weight + level * WIDTH * WIDTH, n, used, WIDTH, WIDTH, BK)
            x = tl.load(state + where, mask=mask, other=0.0) + gelu(total)
            tl.store(raised + where, x.to(raised.dtype.element_ty), mask=mask)
        tl.debug_barrier()
        query = tl.zeros((BM, BD), tl.float32)
        query += tl.load(query_bias + level * DIMENSION + d, mask=d < DIMENSION, other=0.0)[None, :]
        query = chain(query, raised + scratch, query_weight + level * DIMENSION * WIDTH, d, used, DIMENSION, WIDTH, BK)
        key = noise_key(of_stream, of_frame, level + 1)
        best = tl.full((BM,), float("-inf"), tl.float32)
        code = tl.zeros((BM,), tl.int32)
        for first in range(0, SIZE, BC):
            c = first + tl.arange(0, BC)
            logits = latent_part(
                query, entries + level * SIZE * DIMENSION, code_bias + level * SIZE, c, d, SIZE, DIMENSION
            )
            noise = gumbel_noise(key[:, None], c[None, :])
            scored = logits + noise * own_heat[:, None]
            most, which = tl.max(scored, axis=1, return_indices=True)
            code = tl.where(most > best, first + which, code)
            best = tl.maximum(most, best)
        tl.store(codes + m * (LEVELS + 1) + level + 1, code, mask=used)
        entry = ((level + 1) * SIZE + code) * DIMENSION
        latent += tl.load(table + entry[:, None] + d[None, :], mask=whole, other=0.0)
        # The next level overwrites the scratch that other threads may still read.
        tl.debug_barrier()
    tl.store(latents + m[:, None] * DIMENSION + d[None, :], latent, mask=whole)
    tl.store(previous + slot[:, None] * DIMENSION + d[None, :], latent, mask=whole)
