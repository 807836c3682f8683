"""Drawing of codes by the rules of ``engine/model/sampling.py``; noise is computed where it is used."""

from __future__ import annotations

from whispergpt.engine.gpu.language import jit, tl


@jit
def mixed(x: tl.tensor) -> tl.tensor:
    """Return uint64 ``x`` through the finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


@jit
def noise_key(seed: tl.tensor, frame: tl.tensor, codebook: tl.tensor) -> tl.tensor:
    """Return the key of a frame's noise in one codebook, uint64, from int64 ``seed`` and ``frame``."""
    golden = tl.full((), 0x9E3779B97F4A7C15, tl.uint64)
    counter = (frame * 64 + codebook).to(tl.uint64)
    return mixed(mixed(seed.to(tl.uint64) + golden) + counter * golden)


@jit
def gumbel_noise(key: tl.tensor, code: tl.tensor) -> tl.tensor:
    """Return standard Gumbel noise for each ``code`` under ``key``; shapes are broadcast."""
    golden = tl.full((), 0x9E3779B97F4A7C15, tl.uint64)
    bits = mixed(key + (code + 1).to(tl.uint64) * golden) >> 41
    uniform = (bits.to(tl.int32).to(tl.float32) + 0.5) * 1.1920928955078125e-07
    return -tl.log(-tl.log(uniform))


@jit
def allowed_codes(
    scores: tl.tensor, code: tl.tensor, most: tl.tensor, share: tl.tensor, BITS: tl.constexpr
) -> tl.tensor:
    """Return which codes stay in: fewer than ``most`` codes and less than ``share`` of the odds are ahead of each.

    A code is ahead of another if its score is larger, or equal and its number smaller. Both numbers together make one
    place in that order, of 32 + BITS bits, and the last place that stays in is found by bisection, without sorting.
    """
    bits = scores.to(tl.int32, bitcast=True)
    rising = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)
    place = (rising << BITS) - code
    odds = tl.exp(scores - tl.max(scores, axis=0))
    odds = odds / tl.sum(odds, axis=0)
    # Rounding may let the odds ahead of the last code add up to 1.
    bound = tl.where(share >= 1.0, float("inf"), share)
    low = tl.min(place, axis=0)
    high = tl.max(place, axis=0)
    for _ in range(33 + BITS):
        middle = (low + high) >> 1
        ahead = place > middle
        fits = (tl.sum(ahead.to(tl.int32), axis=0) < most) & (tl.sum(tl.where(ahead, odds, 0.0), axis=0) < bound)
        high = tl.where(fits, middle, high)
        low = tl.where(fits, low, middle + 1)
    return place >= high


@jit
def sample(
    slots: tl.tensor,
    logits: tl.tensor,
    seed: tl.tensor,
    frame: tl.tensor,
    temperature: tl.tensor,
    top_k: tl.tensor,
    top_p: tl.tensor,
    codes: tl.tensor,
    CODES_STRIDE: tl.constexpr,
    HELD: tl.constexpr,
    SIZE: tl.constexpr,
    BITS: tl.constexpr,
) -> None:
    """Draw the coarse code of one row from its slot's logits ``[slots, SIZE]``.

    ``HELD``: numbers from slot to slot. SIZE is 2 to the power of BITS.
    """
    row = tl.program_id(0)
    slot = tl.load(slots + row).to(tl.int64)
    if slot < 0:
        return
    code = tl.arange(0, SIZE)
    scores = tl.load(logits + slot * HELD + code)
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
            allowed = allowed_codes(scores, code, tl.where(most > 0, most, SIZE), share, BITS)
            noisy = scores + gumbel_noise(key, code)
            drawn = tl.argmax(tl.where(allowed, noisy, float("-inf")), axis=0)
    tl.store(codes + row * CODES_STRIDE, drawn)
