"""A prompt's frames as programs of compiled kernels: audio to codes, and codes to the state that streams start from.

Rows are consecutive frames of one stream, so that every product has many rows, and the same chains of additions as in
the frame step: how a prompt is cut into chunks changes no bit of its state.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from engine.config import HOP
from engine.frame_step import FrameStep
from engine.native import kernels as k
from engine.native.emitter import STAGES, Signal
from engine.native.layers import LayerEmitter, check_sizes
from engine.native.weights import Weights
from engine.streaming import State, branch, leaf


class PromptProgram(LayerEmitter):
    """Up to ``frames`` frames at once of the stream in slot 0 of a state."""

    def __init__(self, step: FrameStep, state: State, frames: int, weights: Weights) -> None:
        check_sizes(step)
        super().__init__(weights, frames, consecutive=True)
        self._state, self._frames = state, frames
        self._slots = np.zeros(frames, np.int32)

    def run(self, frames: int) -> None:
        """The first ``frames`` rows."""
        assert 0 < frames <= self._frames
        seconds = np.zeros(len(STAGES))
        self._library.whispergpt_run(self._handle, self._slots.ctypes.data, 0, frames, seconds.ctypes.data)


class EncodeProgram(PromptProgram):
    """Audio to codes.

    Attributes:
        audio: samples to encode, float32 ``[frames, 320]``.
        codes: what came of them, int32 ``[K, frames]``.
    """

    def __init__(self, step: FrameStep, state: State, frames: int, weights: Weights) -> None:
        super().__init__(step, state, frames, weights)
        codec = step.codec
        audio = self.keep(torch.zeros(frames, HOP))
        self.audio: npt.NDArray[np.float32] = audio.numpy()
        codes = torch.zeros(codec.config.n_codebooks, frames, dtype=torch.int32)
        self.codes: npt.NDArray[np.int32] = self.keep(codes).numpy()
        self.stage("codec")
        residual = self.seanet(codec.encoder, Signal(k.Rows.of(audio), HOP, 1), state)
        for found, entries in zip(self.codes, codec.quantizer.entries, strict=True):
            # The nearest entry e of x has the largest 2 x·e - |e|².
            scores = self.product(residual, 2 * entries, -entries.square().sum(1))
            self.emit(k.Largest(scores.rows, scores.width, k.codes_at(found)))
            nearest = self.buffer(1, residual.width)
            self.embed(k.codes_at(found), -entries, nearest.rows)
            self.emit(k.Add(nearest.rows, nearest.width, residual.rows))


class PrefillProgram(PromptProgram):
    """Codes to the state that a stream starts from: the model's, the decoder's and the spectrogram's.

    Attributes:
        codes: frames to take in, int32 ``[K, frames]``.
        samples: how they sound, int16 ``[frames, 320]``.
    """

    def __init__(self, step: FrameStep, state: State, frames: int, weights: Weights) -> None:
        super().__init__(step, state, frames, weights)
        codec, model, model_state = step.codec, step.model, branch(state, "model")
        codes = torch.zeros(codec.config.n_codebooks, frames, dtype=torch.int32)
        self.codes: npt.NDArray[np.int32] = self.keep(codes).numpy()
        self.samples: npt.NDArray[np.int16] = self.keep(torch.zeros(frames, HOP, dtype=torch.int16)).numpy()
        self.stage("codec")
        latent = self._latent(step)
        if model.fine is not None:
            self.emit(k.Keep(latent.rows, latent.width, k.Rows.of(leaf(state, "latent"))))
        hidden = self.sounded(step, k.codes_at(self.codes[0]), latent, self.samples, state)
        with self.last_row_alone():
            logits = self.product(hidden, model.head.weight, None)
            self.emit(k.Keep(logits.rows, logits.width, k.Rows.of(leaf(state, "logits"))))
        self.emit(k.Advance(None, leaf(model_state, "position").data_ptr()))

    def _latent(self, step: FrameStep) -> Signal:
        """The entries of all codes added up, as the decoder takes them."""
        latent = self.buffer(1, step.codec.config.dimension)
        entries = step.codec.quantizer.entries
        self.embed(k.codes_at(self.codes[0]), entries[0], latent.rows)
        for codes, table in zip(self.codes[1:], entries[1:], strict=True):
            entry = self.buffer(1, latent.width)
            self.embed(k.codes_at(codes), table, entry.rows)
            self.emit(k.Add(entry.rows, entry.width, latent.rows))
        return latent
