"""Drawing of codes by the rules of ``engine/model/sampling.py``; noise is computed where it is used."""

from __future__ import annotations

from whispergpt.engine.gpu.language import Pointer, Value, jit, tl


@jit
def mixed(x: Value) -> Value:
    """Return uint64 ``x`` through the finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


@jit
def noise_key(seed: Value, frame: Value, codebook: Value) -> Value:
    """Return the key of a frame's noise in one codebook, uint64, from int64 ``seed`` and ``frame``."""
    golden = tl.full((), 0x9E3779B97F4A7C15, tl.uint64)
    counter = (frame * 64 + codebook).to(tl.uint64)
    return mixed(mixed(seed.to(tl.uint64) + golden) + counter * golden)


@jit
def gumbel_noise(key: Value, code: Value) -> Value:
    """Return standard Gumbel noise for each ``code`` under ``key``; shapes are broadcast."""
    golden = tl.full((), 0x9E3779B97F4A7C15, tl.uint64)
    bits = mixed(key + (code + 1).to(tl.uint64) * golden) >> 41
    uniform = (bits.to(tl.int32).to(tl.float32) + 0.5) * 1.1920928955078125e-07
    return -tl.log(-tl.log(uniform))


@jit
def sample(
    slots: Pointer,
    logits: Pointer,
    seed: Pointer,
    frame: Pointer,
    temperature: Pointer,
    top_k: Pointer,
    top_p: Pointer,
    codes: Pointer,
    CODES_STRIDE: tl.constexpr,
    SIZE: tl.constexpr,
    BITS: tl.constexpr,
) -> None:
    """Draw the coarse code of one row from its slot's logits ``[slots, SIZE]``; SIZE is 2 to the power of BITS."""
    row = tl.program_id(0)
    slot = tl.load(slots + row).to(tl.int64)
    if slot < 0:
        return
    code = tl.arange(0, SIZE)
    scores = tl.load(logits + slot * SIZE + code)
    heat = tl.load(temperature + slot)
    scores = tl.where(scores == scores, scores, float("-inf"))  # sorting needs an order, which NaN does not have
    drawn = tl.argmax(scores, axis=0)
    if heat > 0:
        # The 0.0 makes -0.0 and 0.0 the same key.
        scores = scores / tl.maximum(heat, 1e-4) + 0.0
        key = noise_key(tl.load(seed + slot), tl.load(frame + slot), 0)
        most = tl.load(top_k + slot)
        share = tl.load(top_p + slot)
        if ((most <= 0) | (most >= SIZE)) & (share >= 1.0):
            drawn = tl.argmax(scores + gumbel_noise(key, code), axis=0)
        else:
            # One number holds score and code: the largest score first, and of equal ones the smallest code.
            bits = scores.to(tl.int32, bitcast=True)
            rising = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)
            ordered = tl.sort(code.to(tl.int64) - rising * SIZE)
            rising = -(ordered >> BITS).to(tl.int32)
            code = (ordered & (SIZE - 1)).to(tl.int32)
            scores = tl.where(rising < 0, rising ^ 0x7FFFFFFF, rising).to(tl.float32, bitcast=True)
            odds = tl.exp(scores - tl.max(scores, axis=0))
            odds = odds / tl.sum(odds, axis=0)
            before = tl.cumsum(odds, axis=0) - odds
            rank = tl.arange(0, SIZE)
            kept = tl.where(most > 0, most, SIZE)
            bound = tl.where(share >= 1.0, float("inf"), share)  # rounding lets the last odds begin above 1
            allowed = (before < bound) & (rank < kept) | (rank == 0)
            scored = tl.where(allowed, scores + gumbel_noise(key, code), float("-inf"))
            drawn = tl.sum(tl.where(rank == tl.argmax(scored, axis=0), code, 0), axis=0)
    tl.store(codes + row * CODES_STRIDE, drawn)
