"""Resumes a stream from a snapshot, its last codes, where its engine is gone.

The codes are decoded and read as a prompt's are, which fills the caches that the model attends to. The stream goes on
without a click, in the same voice and at the same place.

The last fifteen seconds, decoded from silence, nearly restore the state. The caches of the first two layers are exact,
and the others have mostly forgotten earlier frames: a different code is seldom drawn in the second that a listener may
be ahead of a token. With codes from further back than any frame's influence reaches, and the decoder's state before the
first of them (its LSTM need not forget), the state is exact to the bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from whispergpt.engine.backends.prompt_path import PromptState
from whispergpt.engine.config import CODEBOOK_SIZE, FRAME_RATE, HOP, LIMITS_HZ, NO_LIMIT, ModelConfig
from whispergpt.engine.model.streaming import State, branch, leaf
from whispergpt.engine.stream_plan import DecoderState, Snapshot

WARM_UP_FRAMES = FRAME_RATE
"""Frames beyond those that the model attends to, for the decoder's LSTM, which remembers longer."""
FEWEST_FRAMES = 8
"""Fewest frames that a codec with reflecting padding can start with."""
_BITS = 10


class ResumeError(ValueError):
    """A snapshot is not of this model; the message is for the user."""


def frames_in_snapshot(config: ModelConfig) -> int:
    """Return how many of a stream's last frames restore it nearly: two windows. With one, 25 of 30 streams of the
    ``speech`` of then drew a different code within a second, with two windows 2."""
    return 2 * config.stack.window + WARM_UP_FRAMES


def frames_of_influence(config: ModelConfig) -> int:
    """Return how many frames back codes matter to a state, the decoder aside: a window for each layer."""
    frames = config.stack.layers * config.stack.window
    if config.spectrogram is not None:
        frames += config.spectrogram.layers * config.spectrogram.window + -(-config.mel.window // HOP)
    return frames


def frames_in_exact_snapshot(config: ModelConfig) -> int:
    """Return the most frames of an exact snapshot: those that matter behind a prompt's end, and as many again until the
    first decoder's state kept since is old enough."""
    return 2 * (frames_of_influence(config) + 2 * FRAME_RATE)


class DecoderStates:
    """States of one stream's decoder that a snapshot may begin with, one a second.

    Args:
        influence: age in frames from which a state is old enough; 0 keeps the first alone.
    """

    def __init__(self, first: DecoderState, influence: int) -> None:
        self._kept, self._influence = deque([first]), influence

    @property
    def oldest(self) -> DecoderState:
        """Return the state to begin with: the last that is old enough, or the first."""
        return self._kept[0]

    def note(self, now: int, decoder: Callable[[], State]) -> None:
        """Note that the stream is at frame ``now``, where ``decoder`` gives its decoder's state."""
        if not self._influence:
            return
        if now >= self._kept[-1].start + FRAME_RATE:
            self._kept.append(DecoderState(now, pack_decoder(decoder())))
        while len(self._kept) > 1 and self._kept[1].start <= now - self._influence:
            self._kept.popleft()


def resumed_codes(state: PromptState, snapshot: Snapshot, books: int, most: int) -> Tensor:
    """Return the codes ``[K, T]`` of a snapshot, and put its decoder's state into ``state``, a fresh one.

    Raises:
        ResumeError: the snapshot is not of this model, or longer than ``most`` frames.
    """
    if snapshot.limit_hz not in (NO_LIMIT, *LIMITS_HZ):
        raise ResumeError("The token limits its stream to a bandwidth that this version does not have.")
    codes = unpack_codes(snapshot.codes, books, most)
    start, decoder = snapshot.decoder_state.start, snapshot.decoder_state.packed
    if decoder:
        tensors = _tensors(state.sounding)
        if len(decoder) != sum(t.nbytes for t in tensors) or start <= 0:
            raise ResumeError("The token does not fit this model.")
        begin = 0
        for tensor in tensors:
            held = np.frombuffer(decoder, np.float32, tensor.numel(), begin)
            tensor.copy_(torch.from_numpy(held.copy()).view_as(tensor))
            begin += tensor.nbytes
        state.decoded = state.read = start
        leaf(branch(state.reading, "model"), "position").fill_(start)
    return codes


def pack_decoder(decoder: State) -> bytes:
    """Return the decoder's state and, if there is one, the last latent of one slot, as in ``DecoderState.packed``."""
    return b"".join(tensor.numpy().tobytes() for tensor in _tensors(decoder))


def _tensors(state: State) -> list[Tensor]:
    """Return all tensors of a tree by their names."""
    found: list[Tensor] = []
    for name in sorted(state):
        value = state[name]
        found += _tensors(value) if isinstance(value, dict) else [value]
    assert all(tensor.dtype == torch.float32 for tensor in found)
    return found


def pack_codes(codes: npt.NDArray[np.uint16]) -> bytes:
    """Pack codes ``[T, K]`` at ten bits each, four in five bytes, quickly: the frame step waits for it."""
    flat = codes.reshape(-1)
    if codes.size % 4:
        flat = np.pad(flat, (0, -codes.size % 4))
    a_to_d = flat.astype("<u2", copy=False).view("<u8")  # four codes of sixteen bits each, the first one lowest
    packed = (a_to_d & 0x3FF) << 30
    packed |= (a_to_d >> 16 & 0x3FF) << 20
    packed |= (a_to_d >> 32 & 0x3FF) << 10
    packed |= a_to_d >> 48 & 0x3FF
    five_bytes = packed.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 3:]
    return five_bytes.tobytes()[: -(-codes.size * _BITS // 8)]


def unpack_codes(packed: bytes, books: int, most: int) -> Tensor:
    """Return the codes that ``pack_codes`` packed, int64 ``[K, T]``.

    Raises:
        ResumeError: they are not of ``books`` codebooks, or of too few frames, or of more than ``most``.
    """
    assert CODEBOOK_SIZE == 1 << _BITS
    frames = len(packed) * 8 // (_BITS * books)
    if not FEWEST_FRAMES <= frames <= most or len(packed) != -(-frames * books * _BITS // 8):
        raise ResumeError("The token does not fit this model.")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=frames * books * _BITS).reshape(-1, _BITS)
    codes = bits.astype(np.int64) @ (1 << np.arange(_BITS - 1, -1, -1))
    return torch.from_numpy(codes.reshape(frames, books).T.copy())
