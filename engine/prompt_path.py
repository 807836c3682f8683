"""Ways to take a prompt in: compiled kernels on a CPU they are made for, torch elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.audio_file import Samples
from engine.config import HOP
from engine.frame_step import FrameStep, to_int16
from engine.native.check import Kernels
from engine.native.prompt_program import EncodeProgram, PrefillProgram
from engine.native.weights import Weights
from engine.streaming import State, copy_into


@dataclass
class PromptState:
    """One slot each of the encoder's state and of all that a stream owns, behind ``frames`` frames."""

    encoder: State
    stream: State
    frames: int = 0

    @classmethod
    def fresh(cls, step: FrameStep, device: torch.device) -> PromptState:
        """That of a prompt of which nothing has come."""
        return cls(step.codec.init_encoder_state(1, device), step.init_state(1, device))


@dataclass(frozen=True)
class Taken:
    """What a chunk of T frames became: codes int64 ``[K, T]``, and int16 ``[T·320]``, the codec's samples of it."""

    codes: Tensor
    decoded: Tensor
    encode_seconds: float
    prefill_seconds: float


class PromptPath(Protocol):
    """``least`` frames are worth a chunk, ``most`` fit into one."""

    least: int
    most: int

    def take(self, state: PromptState, audio: Samples) -> Taken:
        """The next ``[T·320]`` samples of a prompt, T up to ``most``."""
        ...

    def settle(self, state: PromptState) -> None:
        """No more comes: what ``state`` holds is to be the whole of it."""
        ...


def prompt_path(step: FrameStep, device: torch.device, kernels: Kernels) -> PromptPath:
    """How prompts are taken in where these ``kernels`` were found."""
    if kernels.weights is None:
        return TorchPromptPath(step, device)
    return NativePromptPath(step, kernels.weights)


class TorchPromptPath:
    """The prompt as torch takes it, on a fixed grid: the last bits of its products depend on their number of rows."""

    least = most = 32

    def __init__(self, step: FrameStep, device: torch.device) -> None:
        self._step, self._device = step, device

    @torch.inference_mode()
    def take(self, state: PromptState, audio: Samples) -> Taken:
        began = time.perf_counter()
        samples = torch.from_numpy(audio).to(self._device)[None, None]
        codes = self._step.codec.encode_step(samples, state.encoder, cold=state.frames == 0)
        encoded = time.perf_counter()
        decoded = to_int16(self._step.prefill(codes, state.stream, state.frames)).cpu()
        state.frames += codes.shape[-1]
        return Taken(codes[0].cpu(), decoded, encoded - began, time.perf_counter() - encoded)

    def settle(self, state: PromptState) -> None:
        """It always is."""


class NativePromptPath:
    """The prompt through compiled kernels, which work on one prompt's state at a time; prompts may take turns."""

    least, most = 4, 32

    def __init__(self, step: FrameStep, weights: Weights) -> None:
        device = torch.device("cpu")
        self._by_torch = TorchPromptPath(step, device)
        self._starts_by_torch = step.codec.config.pad_mode == "reflect"  # whose first chunk is not like the others
        self._worked_on = PromptState.fresh(step, device)
        self._owner: PromptState | None = None
        self._encode = EncodeProgram(step, self._worked_on.encoder, self.most, weights)
        self._prefill = PrefillProgram(step, self._worked_on.stream, self.most, weights)

    def take(self, state: PromptState, audio: Samples) -> Taken:
        if state.frames == 0 and self._starts_by_torch:
            return self._by_torch.take(state, audio)
        frames = len(audio) // HOP
        self._hand_to(state)
        began = time.perf_counter()
        self._encode.audio[:frames] = audio.reshape(frames, HOP)
        self._encode.run(frames)
        codes = self._encode.codes[:, :frames]
        encoded = time.perf_counter()
        self._prefill.codes[:, :frames] = codes
        self._prefill.run(frames)
        state.frames += frames
        decoded: npt.NDArray[np.int16] = self._prefill.samples[:frames].flatten()
        return Taken(
            torch.from_numpy(codes.astype(np.int64)),
            torch.from_numpy(decoded),
            encoded - began,
            time.perf_counter() - encoded,
        )

    def settle(self, state: PromptState) -> None:
        if self._owner is state:
            self._hand_to(None)

    @torch.inference_mode()
    def _hand_to(self, state: PromptState | None) -> None:
        """Make the kernels' state that of another prompt."""
        if self._owner is state:
            return
        if self._owner is not None:
            copy_into(self._owner.encoder, self._worked_on.encoder)
            copy_into(self._owner.stream, self._worked_on.stream)
        if state is not None:
            copy_into(self._worked_on.encoder, state.encoder)
            copy_into(self._worked_on.stream, state.stream)
        self._owner = state
