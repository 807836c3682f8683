"""Ways to take a prompt in: compiled kernels on a CPU they are made for, torch elsewhere.

A prompt goes in chunks, each through two stages: it is encoded to codes, and these are prefilled, that is decoded and
read by the model. The stages share nothing, so one thread may encode while another prefills.
"""

from __future__ import annotations

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
from engine.native.codec_program import EncodeProgram
from engine.native.prompt_program import PrefillProgram
from engine.native.weights import Weights
from engine.streaming import State, copy_into


@dataclass
class PromptState:
    """One slot each of the encoder's state and of all that a stream owns, and the frames that are behind them."""

    encoder: State
    stream: State
    encoded: int = 0
    prefilled: int = 0

    @classmethod
    def fresh(cls, step: FrameStep, device: torch.device) -> PromptState:
        """That of a prompt of which nothing has come."""
        return cls(step.codec.init_encoder_state(1, device), step.init_state(1, device))


class PromptPath(Protocol):
    """How chunks go through both stages. A state's stages may run at once; two prompts in one stage take turns."""

    def sizes(self, encoded: int) -> tuple[int, int]:
        """How many frames the chunk behind ``encoded`` frames has at least, until the prompt ends, and at most."""
        ...

    def encode(self, state: PromptState, audio: Samples) -> Tensor:
        """The prompt's next samples ``[T·320]`` → codes int64 ``[K, T]``."""
        ...

    def prefill(self, state: PromptState, codes: Tensor) -> Tensor:
        """A chunk as it was encoded, ``[K, T]`` → int16 ``[T·320]``, the codec's samples of it."""
        ...

    def settle(self, state: PromptState) -> None:
        """All is prefilled: what ``state.stream`` holds is to be the whole of it."""
        ...


def prompt_path(step: FrameStep, device: torch.device, kernels: Kernels) -> PromptPath:
    """How prompts are taken in where these ``kernels`` were found."""
    if kernels.weights is None:
        return TorchPromptPath(step, device)
    return NativePromptPath(step, kernels.weights)


class TorchPromptPath:
    """The prompt as torch takes it, on a fixed grid: the last bits of its products depend on their number of rows."""

    GRID = 32

    def __init__(self, step: FrameStep, device: torch.device) -> None:
        self._step, self._device = step, device

    def sizes(self, encoded: int) -> tuple[int, int]:
        return self.GRID, self.GRID

    @torch.inference_mode()
    def encode(self, state: PromptState, audio: Samples) -> Tensor:
        samples = torch.from_numpy(audio).to(self._device)[None, None]
        codes = self._step.codec.encode_step(samples, state.encoder, cold=state.encoded == 0)
        state.encoded += codes.shape[-1]
        return codes[0].cpu()

    @torch.inference_mode()
    def prefill(self, state: PromptState, codes: Tensor) -> Tensor:
        samples = to_int16(self._step.prefill(codes[None].to(self._device), state.stream, state.prefilled))
        state.prefilled += codes.shape[-1]
        return samples.cpu()

    def settle(self, state: PromptState) -> None:
        """It always is."""


class NativePromptPath:
    """The prompt through compiled kernels, whose result does not depend on where it is cut."""

    LEAST, MOST = 4, 32

    def __init__(self, step: FrameStep, weights: Weights) -> None:
        device = torch.device("cpu")
        self._by_torch = TorchPromptPath(step, device)
        # With reflection padding the first chunk is not like the others.
        self._starts_by_torch = step.codec.config.pad_mode == "reflect"
        own = PromptState.fresh(step, device)
        self._encoder, self._stream = _Lent(own.encoder), _Lent(own.stream)
        self._encode = EncodeProgram(step.codec, own.encoder, self.MOST, weights)
        self._prefill = PrefillProgram(step, own.stream, self.MOST, weights)

    def sizes(self, encoded: int) -> tuple[int, int]:
        if encoded == 0 and self._starts_by_torch:
            return self._by_torch.sizes(encoded)
        return self.LEAST, self.MOST

    def encode(self, state: PromptState, audio: Samples) -> Tensor:
        if state.encoded == 0 and self._starts_by_torch:
            return self._by_torch.encode(state, audio)
        frames = len(audio) // HOP
        self._encoder.lend(state.encoder)
        self._encode.audio[:frames] = audio.reshape(frames, HOP)
        self._encode.run(frames)
        state.encoded += frames
        return torch.from_numpy(self._encode.codes[:, :frames].astype(np.int64))

    def prefill(self, state: PromptState, codes: Tensor) -> Tensor:
        if state.prefilled == 0 and self._starts_by_torch:
            return self._by_torch.prefill(state, codes)
        frames = codes.shape[1]
        self._stream.lend(state.stream)
        self._prefill.codes[:, :frames] = codes.numpy()
        self._prefill.run(frames)
        state.prefilled += frames
        samples: npt.NDArray[np.int16] = self._prefill.samples[:frames].flatten()
        return torch.from_numpy(samples)

    def settle(self, state: PromptState) -> None:
        self._stream.take_back(state.stream)


class _Lent:
    """The one state that kernels have the addresses of, lent to one prompt at a time."""

    def __init__(self, worked_on: State) -> None:
        self._worked_on = worked_on
        self._owner: State | None = None

    def lend(self, owner: State) -> None:
        """Make it ``owner``'s, once the one before has its own back."""
        if self._owner is owner:
            return
        if self._owner is not None:
            self.take_back(self._owner)
        with torch.inference_mode():
            copy_into(self._worked_on, owner)
        self._owner = owner

    def take_back(self, owner: State) -> None:
        """Give ``owner`` what became of its state, if it has it lent."""
        if self._owner is owner:
            with torch.inference_mode():
                copy_into(owner, self._worked_on)
            self._owner = None
