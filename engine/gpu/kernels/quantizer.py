"""Residual vector quantisation: codes to latents, and latents to codes."""

from __future__ import annotations

from whispergpt.engine.gpu.language import jit, tl


@jit
def entries_of(
    slots: tl.tensor,
    codes: tl.tensor,
    table: tl.tensor,
    latent: tl.tensor,
    ROW: tl.constexpr,
    BOOK: tl.constexpr,
    FRAMES: tl.constexpr,
    BOOKS: tl.constexpr,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    BM: tl.constexpr,
    BW: tl.constexpr,
) -> None:
    """Add up the entries of ``BM`` frames: ``latent[m] = Σ table[book, code of m in book]``, float32.

    ``codes`` has ``ROW`` numbers from row to row and ``BOOK`` from codebook to codebook; frames lie side by side.
    """
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    if tl.load(slots + tl.program_id(0) * BM // FRAMES) < 0:
        return
    used = tl.load(slots + m // FRAMES) >= 0
    at = (m // FRAMES) * ROW + m % FRAMES
    c = tl.arange(0, BW)
    wanted = used[:, None] & (c < WIDTH)[None, :]
    total = tl.zeros((BM, BW), tl.float32)
    for book in range(BOOKS):
        code = tl.load(codes + at + book * BOOK, mask=used, other=0)
        total += tl.load(table + (book * SIZE + code)[:, None] * WIDTH + c[None, :], mask=wanted, other=0.0)
    tl.store(latent + m[:, None] * WIDTH + c[None, :], total, mask=(c < WIDTH)[None, :])


@jit
def nearest(
    slots: tl.tensor,
    latent: tl.tensor,
    table: tl.tensor,
    turned: tl.tensor,
    squares: tl.tensor,
    codes: tl.tensor,
    ROW: tl.constexpr,
    BOOK: tl.constexpr,
    FRAMES: tl.constexpr,
    BOOKS: tl.constexpr,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BW: tl.constexpr,
) -> None:
    """Find the codes of ``BM`` frames, codebook after codebook; each quantises what those before it left.

    The nearest entry e of x has the largest 2 x·e - |e|², the first of equal ones. ``turned`` is ``2 · table``,
    ``[BOOKS, WIDTH, SIZE]``, and ``squares`` the squared lengths ``[BOOKS, SIZE]``. ``codes`` is laid out as in
    ``entries_of``.
    """
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    if tl.load(slots + tl.program_id(0) * BM // FRAMES) < 0:
        return
    used = tl.load(slots + m // FRAMES) >= 0
    at = (m // FRAMES) * ROW + m % FRAMES
    c = tl.arange(0, BW)
    wanted = used[:, None] & (c < WIDTH)[None, :]
    left = tl.load(latent + m[:, None] * WIDTH + c[None, :], mask=wanted, other=0.0)
    for book in range(BOOKS):
        best = tl.full((BM,), float("-inf"), tl.float32)
        found = tl.zeros((BM,), tl.int32)
        for first in range(0, SIZE, BN):
            n = first + tl.arange(0, BN)
            at = book * WIDTH * SIZE + c[:, None] * SIZE + n[None, :]
            b = tl.load(turned + at, mask=(c < WIDTH)[:, None], other=0.0)
            scores = tl.zeros((BM, BN), tl.float32) - tl.load(squares + book * SIZE + n)[None, :]
            scores = tl.dot(left, b, scores, input_precision=PRECISION)
            largest, place = tl.max(scores, axis=1, return_indices=True, return_indices_tie_break_left=True)
            found = tl.where(largest > best, first + place, found)
            best = tl.maximum(best, largest)
        tl.store(codes + at + book * BOOK, found, mask=used)
        left -= tl.load(table + (book * SIZE + found)[:, None] * WIDTH + c[None, :], mask=wanted, other=0.0)
