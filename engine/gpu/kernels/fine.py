"""The fine stage: all finer codes of a block of rows in one kernel (``engine/model/fine/drawn_stage.py`` defines them).

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
def from_bias(bias: tl.tensor, n: tl.tensor, N: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr) -> tl.tensor:
    """Return sums ``[BM, BN]`` that begin at outputs n of a bias ``[N]``."""
    return tl.zeros((BM, BN), tl.float32) + tl.load(bias + n, mask=n < N, other=0.0)[None, :]


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
    query: tl.tensor,
    HIDDEN_HELD: tl.constexpr,
    PREVIOUS_HELD: tl.constexpr,
    HIDDEN: tl.constexpr,
    WIDTH: tl.constexpr,
    DIMENSION: tl.constexpr,
    LEVELS: tl.constexpr,
    SIZE: tl.constexpr,
    HEAT: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BC: tl.constexpr,
    BK: tl.constexpr,
) -> None:
    """Draw codes 1 to LEVELS of BM rows behind their coarse codes, and add up the entries of all codes.

    ``hidden`` ``[slots, HIDDEN]`` and ``previous`` ``[slots, DIMENSION]`` are state; the latter becomes this frame's
    latent, which grows in ``latents`` ``[rows, DIMENSION]``. Weights of all levels lie behind one another:
    ``latent_weight`` ``[LEVELS, WIDTH, DIMENSION]`` and so on. ``entries`` ``[LEVELS, SIZE, DIMENSION]`` are those of
    the finer codebooks in the format of products, ``table`` ``[LEVELS + 1, SIZE, DIMENSION]`` all in float32.
    ``context``, ``state`` and ``raised`` ``[rows, WIDTH]`` and ``query`` ``[rows, DIMENSION]`` are scratch. HEAT is the
    temperature of the finer codes.
    """
    first_row = tl.program_id(0) * BM
    if tl.load(slots + first_row) < 0:
        return
    m = first_row + tl.arange(0, BM)
    slot = tl.load(slots + m).to(tl.int64)
    used = slot >= 0
    scratch = m * WIDTH
    own_latent = latents + m * DIMENSION
    for first in range(0, WIDTH, BN):
        n = first + tl.arange(0, BN)
        total = tl.zeros((BM, BN), tl.float32)
        total = chain(total, hidden + slot * HIDDEN_HELD, hidden_weight, n, used, WIDTH, HIDDEN, BK)
        more = tl.zeros((BM, BN), tl.float32)
        more = chain(more, previous + slot * PREVIOUS_HELD, previous_weight, n, used, WIDTH, DIMENSION, BK)
        tl.store(context + scratch[:, None] + n[None, :], more + total, mask=used[:, None] & (n < WIDTH)[None, :])
    own_heat = tl.where(tl.load(temperature + slot, mask=used, other=0.0) > 0, HEAT, 0.0)
    of_frame = tl.load(frame + slot, mask=used, other=0)
    of_stream = tl.load(seed + slot, mask=used, other=0)
    code = tl.load(codes + m * (LEVELS + 1), mask=used, other=0)
    for first in range(0, DIMENSION, BK):
        k = first + tl.arange(0, BK)
        mask = used[:, None] & (k < DIMENSION)[None, :]
        entry = tl.load(table + code[:, None] * DIMENSION + k[None, :], mask=mask, other=0.0)
        tl.store(own_latent[:, None] + k[None, :], entry, mask=mask)
    tl.debug_barrier()
    for level in range(LEVELS):
        for first in range(0, WIDTH, BN):
            n = first + tl.arange(0, BN)
            where = scratch[:, None] + n[None, :]
            mask = used[:, None] & (n < WIDTH)[None, :]
            x = from_bias(latent_bias + level * WIDTH, n, WIDTH, BM, BN)
            x = chain(x, own_latent, latent_weight + level * WIDTH * DIMENSION, n, used, WIDTH, DIMENSION, BK)
            x = gelu(x + tl.load(context + where, mask=mask, other=0.0))
            tl.store(state + where, x, mask=mask)
        tl.debug_barrier()
        for first in range(0, WIDTH, BN):
            n = first + tl.arange(0, BN)
            where = scratch[:, None] + n[None, :]
            mask = used[:, None] & (n < WIDTH)[None, :]
            more = from_bias(up_bias + level * WIDTH, n, WIDTH, BM, BN)
            more = chain(more, state + scratch, up_weight + level * WIDTH * WIDTH, n, used, WIDTH, WIDTH, BK)
            x = tl.load(state + where, mask=mask, other=0.0) + gelu(more)
            tl.store(raised + where, x.to(raised.dtype.element_ty), mask=mask)
        tl.debug_barrier()
        for first in range(0, DIMENSION, BN):
            n = first + tl.arange(0, BN)
            asked = from_bias(query_bias + level * DIMENSION, n, DIMENSION, BM, BN)
            matrix = query_weight + level * DIMENSION * WIDTH
            asked = chain(asked, raised + scratch, matrix, n, used, DIMENSION, WIDTH, BK)
            mask = used[:, None] & (n < DIMENSION)[None, :]
            where = m[:, None] * DIMENSION + n[None, :]
            tl.store(query + where, asked.to(query.dtype.element_ty), mask=mask)
        tl.debug_barrier()
        key = noise_key(of_stream, of_frame, level + 1)
        best = tl.full((BM,), float("-inf"), tl.float32)
        code = tl.zeros((BM,), tl.int32)
        for first in range(0, SIZE, BC):
            c = first + tl.arange(0, BC)
            scores = from_bias(code_bias + level * SIZE, c, SIZE, BM, BC)
            matrix = entries + level * SIZE * DIMENSION
            scores = chain(scores, query + m * DIMENSION, matrix, c, used, SIZE, DIMENSION, BK)
            scores += gumbel_noise(key[:, None], c[None, :]) * own_heat[:, None]
            most, which = tl.max(scores, axis=1, return_indices=True)
            code = tl.where(most > best, first + which, code)
            best = tl.maximum(most, best)
        tl.store(codes + m * (LEVELS + 1) + level + 1, code, mask=used)
        for first in range(0, DIMENSION, BK):
            k = first + tl.arange(0, BK)
            where = own_latent[:, None] + k[None, :]
            mask = used[:, None] & (k < DIMENSION)[None, :]
            entry = ((level + 1) * SIZE + code) * DIMENSION
            total = tl.load(where, mask=mask, other=0.0)
            total += tl.load(table + entry[:, None] + k[None, :], mask=mask, other=0.0)
            tl.store(where, total, mask=mask)
        tl.debug_barrier()
    for first in range(0, DIMENSION, BK):
        k = first + tl.arange(0, BK)
        mask = used[:, None] & (k < DIMENSION)[None, :]
        latent = tl.load(own_latent[:, None] + k[None, :], mask=mask, other=0.0)
        tl.store(previous + slot[:, None] * PREVIOUS_HELD + k[None, :], latent, mask=mask)
