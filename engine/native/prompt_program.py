"""A prompt's codes as a program of compiled kernels: to the state that streams start from.

The same chains of additions as in the frame step: how a prompt is cut into chunks changes no bit of its state.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from engine.config import HOP
from engine.frame_step import FrameStep
from engine.native import kernels as k
from engine.native.codec_program import ConsecutiveProgram
from engine.native.layers import check_sizes
from engine.native.weights import Weights
from engine.streaming import State, branch, leaf


class PrefillProgram(ConsecutiveProgram):
    """Codes to the state that a stream starts from: the model's, the decoder's and the spectrogram's.

    Attributes:
        codes: frames to take in, int32 ``[K, frames]``.
        samples: how they sound, int16 ``[frames, 320]``.
    """

    def __init__(self, step: FrameStep, state: State, frames: int, weights: Weights) -> None:
        check_sizes(step)
        super().__init__(state, frames, weights)
        codec, model, model_state = step.codec, step.model, branch(state, "model")
        codes = torch.zeros(codec.config.n_codebooks, frames, dtype=torch.int32)
        self.codes: npt.NDArray[np.int32] = self.keep(codes).numpy()
        self.samples: npt.NDArray[np.int16] = self.keep(torch.zeros(frames, HOP, dtype=torch.int16)).numpy()
        self.stage("codec")
        latent = self.latent(codec, self.codes)
        if model.fine is not None:
            self.emit(k.Keep(latent.rows, latent.width, k.Rows.of(leaf(state, "latent"))))
        hidden = self.sounded(step, k.codes_at(self.codes[0]), latent, self.samples, state)
        with self.last_row_alone():
            logits = self.product(hidden, model.head.weight, None)
            self.emit(k.Keep(logits.rows, logits.width, k.Rows.of(leaf(state, "logits"))))
        self.emit(k.Advance(None, leaf(model_state, "position").data_ptr()))
