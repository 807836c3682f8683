"""Ways to take a prompt in: compiled kernels on a CPU they are made for, torch elsewhere.

A prompt goes in chunks, each through three stages: it is encoded to codes, these are decoded to how they sound, and
both are read by the model. The stages share nothing, so that each may be at another chunk, in a thread of its own.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import HOP
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, branch, copy_into, leaf
from whispergpt.engine.native.check import Kernels
from whispergpt.engine.native.codec_program import DecodeProgram, EncodeProgram
from whispergpt.engine.native.read_program import ReadProgram
from whispergpt.engine.native.weights import Weights


@dataclass
class PromptState:
    """What each stage changes, one slot of each, and the frames behind it."""

    encoder: State
    sounding: State
    reading: State
    encoded: int = 0
    decoded: int = 0
    read: int = 0

    @classmethod
    def fresh(cls, step: FrameStep, device: torch.device, kept_in: torch.dtype = torch.float32) -> PromptState:
        """That of a prompt of which nothing has come; ``kept_in``: dtype of the model's caches."""
        stream = step.init_state(1, device, kept_in)
        sounding: State = {name: stream.pop(name) for name in ("decoder", "latent") if name in stream}
        return cls(step.codec.init_encoder_state(1, device), sounding, stream)

    @property
    def stream(self) -> State:
        """All that a stream owns."""
        return self.sounding | self.reading


@dataclass(frozen=True)
class Heard:
    """A decoded chunk of T frames: its codes, int64 ``[K, T]``, and its sound, float32 ``[T·320]``."""

    codes: Tensor
    audio: Tensor


class PromptPath(Protocol):
    """The stages. Those of one prompt may run at once; two prompts in one stage take turns."""

    def sizes(self, encoded: int) -> tuple[int, int]:
        """How many frames the chunk behind ``encoded`` frames has at least, until the prompt ends, and at most."""
        ...

    def encode(self, state: PromptState, audio: Samples) -> Tensor:
        """The prompt's next samples ``[T·320]`` → codes int64 ``[K, T]``."""
        ...

    def decode(self, state: PromptState, codes: Tensor) -> Heard:
        """A chunk as it was encoded."""
        ...

    def read(self, state: PromptState, heard: Heard) -> None:
        """A chunk as it was decoded."""
        ...

    def sounding(self, state: PromptState) -> State:
        """The decoder's state behind the last chunk decoded, between two of them."""
        ...

    def settle(self, state: PromptState) -> None:
        """All is read: what ``state.stream`` holds is to be the whole of it."""
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
        codes = self._step.codec.encode_step(samples, state.encoder, cold=state.encoded == 0)[0]
        state.encoded += codes.shape[-1]
        return codes

    @torch.inference_mode()
    def decode(self, state: PromptState, codes: Tensor) -> Heard:
        audio = self._step.hear(codes[None], state.stream, state.decoded)[0]
        state.decoded += codes.shape[-1]
        return Heard(codes, audio)

    @torch.inference_mode()
    def read(self, state: PromptState, heard: Heard) -> None:
        self._step.read(heard.codes[None, 0], heard.audio[None], state.stream, state.read)
        state.read += heard.codes.shape[-1]

    def sounding(self, state: PromptState) -> State:
        return state.sounding

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
        own = PromptState.fresh(step, device, weights.dtype)
        self._encoder, self._decoder, self._reader = (_Lent(part) for part in (own.encoder, own.sounding, own.reading))
        last = leaf(own.sounding, "latent") if "latent" in own.sounding else None
        books, decoder = step.codec.config.n_codebooks, branch(own.sounding, "decoder")
        self._encode = EncodeProgram(step.codec, own.encoder, self.MOST, weights)
        self._decode = DecodeProgram(step.codec, books, decoder, self.MOST, weights, last)
        self._read = ReadProgram(step, own.reading, self.MOST, weights)

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

    def decode(self, state: PromptState, codes: Tensor) -> Heard:
        if state.decoded == 0 and self._starts_by_torch:
            return self._by_torch.decode(state, codes)
        frames = codes.shape[1]
        self._decoder.lend(state.sounding)
        self._decode.codes[:, :frames] = codes.numpy()
        self._decode.run(frames)
        state.decoded += frames
        return Heard(codes, torch.from_numpy(self._decode.audio[:frames].flatten()))

    def read(self, state: PromptState, heard: Heard) -> None:
        frames = heard.codes.shape[1]
        self._reader.lend(state.reading)
        self._read.codes[:frames] = heard.codes[0].numpy()
        self._read.audio[:frames] = heard.audio.view(frames, HOP).numpy()
        self._read.run(frames)
        state.read += frames

    def sounding(self, state: PromptState) -> State:
        self._decoder.take_back(state.sounding)
        return state.sounding

    def settle(self, state: PromptState) -> None:
        self._decoder.take_back(state.sounding)
        self._reader.take_back(state.reading)


class _Lent:
    """The one state that kernels have the addresses of, lent to one prompt at a time."""

    def __init__(self, worked_on: State) -> None:
        self._worked_on = worked_on
        self._owner: State | None = None
        self._lock = threading.RLock()  # a prompt may be settled while another's stage begins

    def lend(self, owner: State) -> None:
        """Make it ``owner``'s, once the one before has its own back."""
        with self._lock, torch.inference_mode():
            if self._owner is not owner:
                if self._owner is not None:
                    self.take_back(self._owner)
                copy_into(self._worked_on, owner)
                self._owner = owner

    def take_back(self, owner: State) -> None:
        """Give ``owner`` what became of its state, if it has it lent."""
        with self._lock, torch.inference_mode():
            if self._owner is owner:
                copy_into(owner, self._worked_on)
                self._owner = None
