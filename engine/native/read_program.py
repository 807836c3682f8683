"""The model's reading of a prompt by compiled kernels: sound and codes to the state that streams start from.

Sums are added in the same order as in the frame step, so the size of the chunks changes no bit of the state.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from whispergpt.engine.config import HOP
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, branch, leaf
from whispergpt.engine.native import kernels as k
from whispergpt.engine.native.codec_program import ConsecutiveProgram
from whispergpt.engine.native.emitter import Signal
from whispergpt.engine.native.layers import check_sizes
from whispergpt.engine.native.weights import Weights


class ReadProgram(ConsecutiveProgram):
    """Spectrogram and model over frames of a prompt; the logits of the last frame are kept.

    Attributes:
        codes: coarse codes, int32 ``[frames]``.
        audio: how the frames sound after the codec, float32 ``[frames, 320]``.
    """

    def __init__(self, step: FrameStep, state: State, frames: int, weights: Weights) -> None:
        check_sizes(step)
        super().__init__(state, frames, weights)
        model, model_state = step.model, branch(state, "model")
        self.codes: npt.NDArray[np.int32] = self.keep(torch.zeros(frames, dtype=torch.int32)).numpy()
        audio = self.keep(torch.zeros(frames, HOP))
        self.audio: npt.NDArray[np.float32] = audio.numpy()
        mel = None
        if model.hybrid:
            self.stage("mel")
            mel = self.slices(step.mel, Signal(k.Rows.of(audio), HOP, 1), leaf(branch(state, "mel"), "tail"))
        self.stage("lm")
        hidden = self.heard(model, k.codes_at(self.codes), mel, model_state)
        with self.last_row_alone():
            logits = self.product(hidden, model.head.weight, None)
            self.emit(k.Keep(logits.rows, logits.width, k.Rows.of(leaf(state, "logits"))))
        self.emit(k.Advance(None, leaf(model_state, "position").data_ptr()))
        self.complete()
