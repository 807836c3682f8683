"""The codec by itself as programs of compiled kernels: audio to codes, and codes to audio.

Rows are consecutive frames of one stream, so that every product has many rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from whispergpt.engine.config import HOP
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.streaming import State
from whispergpt.engine.native import kernels as k
from whispergpt.engine.native.emitter import STAGES, Signal
from whispergpt.engine.native.layers import LayerEmitter, check_codec
from whispergpt.engine.native.weights import Weights


class ConsecutiveProgram(LayerEmitter):
    """Up to ``frames`` frames at once of the stream in slot 0 of a state."""

    def __init__(self, state: State, frames: int, weights: Weights) -> None:
        super().__init__(weights, frames, consecutive=True)
        self._state, self._frames = state, frames
        self._slots = np.zeros(frames, np.int32)

    def run(self, frames: int) -> None:
        """Run the first ``frames`` rows."""
        assert 0 < frames <= self._frames
        seconds = np.zeros(len(STAGES))
        self._library.whispergpt_run(self._handle, self._slots.ctypes.data, 0, frames, seconds.ctypes.data)

    def _latents_of(self, codec: Codec, audio: Tensor, state: State) -> Signal:
        """Encode samples ``[frames, 320]`` to latents."""
        with self.single_precision():  # rounding would change the choice between near entries
            return self.seanet(codec.encoder, Signal(k.Rows.of(audio), HOP, 1), state)

    def _codes_of(self, codec: Codec, residual: Signal) -> npt.NDArray[np.int32]:
        """Find the codes ``[K, frames]`` of latents, and change those to what is left of them."""
        codes = self.keep(torch.zeros(codec.config.n_codebooks, self._frames, dtype=torch.int32)).numpy()
        with self.single_precision():
            self.nearest(residual, codec.quantizer.entries, codes)
        return codes


class EncodeProgram(ConsecutiveProgram):
    """Audio to codes.

    Attributes:
        audio: samples to encode, float32 ``[frames, 320]``.
        codes: their codes, int32 ``[K, frames]``.
    """

    def __init__(self, codec: Codec, state: State, frames: int, weights: Weights) -> None:
        check_codec(codec.config)
        super().__init__(state, frames, weights)
        audio = self.keep(torch.zeros(frames, HOP))
        self.audio: npt.NDArray[np.float32] = audio.numpy()
        self.stage("codec")
        self.codes = self._codes_of(codec, self._latents_of(codec, audio, state))
        self.complete()


class LatentProgram(ConsecutiveProgram):
    """Audio to latents, the first part of ``EncodeProgram``.

    Attributes:
        audio: samples to encode, float32 ``[frames, 320]``.
        latents: what ``QuantizeProgram`` takes, float32 ``[frames, dimension]``.
    """

    def __init__(self, codec: Codec, state: State, frames: int, weights: Weights) -> None:
        check_codec(codec.config)
        super().__init__(state, frames, weights)
        audio = self.keep(torch.zeros(frames, HOP))
        self.audio: npt.NDArray[np.float32] = audio.numpy()
        self.stage("codec")
        latent = self._latents_of(codec, audio, state)
        self.latents: npt.NDArray[np.float32] = self.memory_of(latent).numpy().reshape(frames, latent.width)
        self.complete()


class QuantizeProgram(ConsecutiveProgram):
    """Latents to codes, the second part of ``EncodeProgram``. It has no state.

    Attributes:
        latents: latents to quantize, float32 ``[frames, dimension]``, which a run changes.
        codes: their codes, int32 ``[K, frames]``.
    """

    def __init__(self, codec: Codec, frames: int, weights: Weights) -> None:
        super().__init__({}, frames, weights)
        latents = self.keep(torch.zeros(frames, codec.config.dimension))
        self.latents: npt.NDArray[np.float32] = latents.numpy()
        self.stage("codec")
        self.codes = self._codes_of(codec, Signal(k.Rows.of(latents), 1, codec.config.dimension))
        self.complete()


class DecodeProgram(ConsecutiveProgram):
    """Codes to audio.

    Args:
        last: tensor that receives the last frame's latent ``[1, dimension]``; None for none.

    Attributes:
        codes: codes of the first K codebooks, int32 ``[K, frames]``.
        audio: their sound, float32 ``[frames, 320]``.
    """

    def __init__(
        self, codec: Codec, books: int, state: State, frames: int, weights: Weights, last: Tensor | None = None
    ) -> None:
        check_codec(codec.config)
        super().__init__(state, frames, weights)
        codes = torch.zeros(books, frames, dtype=torch.int32)
        self.codes: npt.NDArray[np.int32] = self.keep(codes).numpy()
        self.stage("codec")
        latent = self.buffer(1, codec.config.dimension)
        entries = codec.quantizer.entries
        self.embed(k.codes_at(self.codes[0]), entries[0], latent.rows)
        self.add_entries(self.codes[1:], entries[1:], latent)
        if last is not None:
            self.emit(k.Keep(latent.rows, latent.width, k.Rows.of(self.keep(last))))
        audio = self.seanet(codec.decoder, latent, state)
        self.audio: npt.NDArray[np.float32] = self.memory_of(audio).numpy().reshape(frames, HOP)
        self.complete()
