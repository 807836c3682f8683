"""Resumes a stream where its engine is gone from a snapshot: the stream's last codes.

They are decoded and read as a prompt's are, which fills the rings that the model attends to. So it sounds on without a
click, in the same voice and at the same place.

Of a stream's last fifteen seconds, decoded from silence, that is nearly all: the rings of the first two layers are as
they were, and what the others had of frames before these is mostly forgotten, so that another code than would have been
is seldom drawn in the second that a listener may be ahead of a token. With codes from further back than any
frame's influence reaches, and the decoder's state before the first of them (its LSTM forgets nothing for sure), every
bit is as it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from whispergpt.engine.backends.prompt_path import PromptState
from whispergpt.engine.config import CODEBOOK_SIZE, FRAME_RATE, HOP, ModelConfig
from whispergpt.engine.messages import DecoderState, Snapshot
from whispergpt.engine.model.streaming import State, branch, leaf

WARM_UP_FRAMES = FRAME_RATE
"""More than the model attends to, for the decoder, whose LSTM remembers longer than its convolutions."""
FEWEST_FRAMES = 8
"""A codec that mirrors its first frames cannot start with less."""
_BITS = 10


class ResumeError(ValueError):
    """A snapshot is none of a stream of this model; the message is for the user."""


def frames_in_snapshot(config: ModelConfig) -> int:
    """How many of a stream's last frames it is made again from, nearly: with one window alone, 25 of 30 streams of the
    embedded ``speech`` had drawn another code within a second, with two of them 2."""
    return 2 * config.stack.window + WARM_UP_FRAMES


def frames_of_influence(config: ModelConfig) -> int:
    """How far back codes matter to a state, but for its decoder's: each layer sees a window of the one below."""
    frames = config.stack.layers * config.stack.window
    if config.spectrogram is not None:
        frames += config.spectrogram.layers * config.spectrogram.window + -(-config.mel.window // HOP)
    return frames


def frames_in_exact_snapshot(config: ModelConfig) -> int:
    """Return the most frames of a snapshot with which every bit is as it was: those behind a prompt's end that matter
    there, and as many again until the first state of the decoder that was kept since is old enough."""
    return 2 * (frames_of_influence(config) + 2 * FRAME_RATE)


class DecoderStates:
    """States of one stream's decoder that a snapshot may yet go back to, one a second.

    Args:
        influence: the frames that one must be old to be enough; 0 keeps none but the first.
    """

    def __init__(self, first: DecoderState, influence: int) -> None:
        self._kept, self._influence = deque([first]), influence

    @property
    def oldest(self) -> DecoderState:
        """The one to go back to: the last that is old enough, or the first."""
        return self._kept[0]

    def note(self, now: int, decoder: Callable[[], State]) -> None:
        """The stream is at frame ``now``; ``decoder`` gives its decoder's state there."""
        if not self._influence:
            return
        if now >= self._kept[-1].start + FRAME_RATE:
            self._kept.append(DecoderState(now, pack_decoder(decoder())))
        while len(self._kept) > 1 and self._kept[1].start <= now - self._influence:
            self._kept.popleft()


def resumed_codes(state: PromptState, snapshot: Snapshot, books: int, most: int) -> Tensor:
    """The codes ``[K, T]`` of a snapshot, whose state before the first of them becomes that of ``state``, a fresh one.

    Raises:
        ResumeError: the snapshot is none of a stream of this model, or longer than ``most`` frames.
    """
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
    """The decoder's state and the last latent of one slot, as ``DecoderState.packed`` has them."""
    return b"".join(tensor.numpy().tobytes() for tensor in _tensors(decoder))


def _tensors(state: State) -> list[Tensor]:
    """All tensors of a tree, by their names."""
    found: list[Tensor] = []
    for name in sorted(state):
        value = state[name]
        found += _tensors(value) if isinstance(value, dict) else [value]
    assert all(tensor.dtype == torch.float32 for tensor in found)
    return found


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
        ResumeError: they are not of ``books`` codebooks, or of too few frames, or of more than ``most``.
    """
    assert CODEBOOK_SIZE == 1 << _BITS
    frames = len(packed) * 8 // (_BITS * books)
    if not FEWEST_FRAMES <= frames <= most or len(packed) != -(-frames * books * _BITS // 8):
        raise ResumeError("The token does not fit this model.")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=frames * books * _BITS).reshape(-1, _BITS)
    codes = bits.astype(np.int64) @ (1 << np.arange(_BITS - 1, -1, -1))
    return torch.from_numpy(codes.reshape(frames, books).T.copy())
