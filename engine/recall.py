"""What a stream is made again from where its engine is gone: its last codes.

They are decoded from silence and read as a prompt's are, which fills the rings that the model attends to. So it sounds
on without a click, in the same voice and at the same place. What the rings held of frames before these is lost, so that
sooner or later another code is drawn than would have been.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.config import CODEBOOK_SIZE, FRAME_RATE, ModelConfig

WARM_UP_FRAMES = FRAME_RATE
"""More than the model attends to, for the decoder, whose LSTM remembers longer than its convolutions."""
FEWEST_FRAMES = 8
"""A codec that mirrors its first frames cannot start with less."""
_BITS = 10


class RecallError(ValueError):
    """What is said to be a stream's memory is none of this model; the message is for the user."""


def frames_remembered(config: ModelConfig) -> int:
    """How many of a stream's last frames it is made again from."""
    return config.stack.window + WARM_UP_FRAMES


def pack_codes(codes: npt.NDArray[np.uint16]) -> bytes:
    """Codes ``[T, K]`` at ten bits each: four in five bytes, since the frame step waits for this."""
    flat = np.pad(codes.reshape(-1), (0, -codes.size % 4))
    a, b, c, d = flat.reshape(-1, 4).T
    packed = np.empty((len(a), 5), np.uint8)
    parts = (a >> 2, a << 6 | b >> 4, b << 4 | c >> 6, c << 2 | d >> 8, d)
    for place, part in enumerate(parts):
        packed[:, place] = part & 0xFF
    return packed.tobytes()[: -(-codes.size * _BITS // 8)]


def unpack_codes(packed: bytes, books: int, most: int) -> Tensor:
    """The codes that ``pack_codes`` packed, int64 ``[K, T]``.

    Raises:
        RecallError: they are not of ``books`` codebooks, or of too few frames, or of more than ``most``.
    """
    assert CODEBOOK_SIZE == 1 << _BITS
    frames = len(packed) * 8 // (_BITS * books)
    if not FEWEST_FRAMES <= frames <= most or len(packed) != -(-frames * books * _BITS // 8):
        raise RecallError("The token does not fit this model.")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=frames * books * _BITS).reshape(-1, _BITS)
    codes = bits.astype(np.int64) @ (1 << np.arange(_BITS - 1, -1, -1))
    return torch.from_numpy(codes.reshape(frames, books).T.copy())
