"""Ways to take a prompt in: compiled kernels on a CPU or a GPU that they are made for, torch elsewhere.

A prompt is taken in by chunks, each in three stages: it is encoded to codes, the codes are decoded to sound, and the
model reads both. The stages share nothing, so that each may work on another chunk, in a thread of its own. Kernels of a
CPU find the codes in the second stage: the first takes half of all time as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import HOP
from whispergpt.engine.device import for_prompts
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, branch, copy_into, leaf
from whispergpt.engine.native.check import Kernels
from whispergpt.engine.native.codec_program import DecodeProgram, LatentProgram, QuantizeProgram
from whispergpt.engine.native.read_program import ReadProgram
from whispergpt.engine.native.weights import Weights


@dataclass
class PromptState:
    """The state of each stage and the number of frames that each has done, of one prompt or of lanes for several.

    Its tensors are written in the context ``for_prompts`` of their device.
    """

    device: torch.device
    encoder: State
    sounding: State
    reading: State
    encoded: int = 0
    decoded: int = 0
    read: int = 0

    @classmethod
    def fresh(
        cls, step: FrameStep, device: torch.device, kept_in: torch.dtype = torch.float32, slots: int = 1
    ) -> PromptState:
        """Return the state of a prompt before its first chunk; ``kept_in``: dtype of the model's caches."""
        with for_prompts(device):
            stream = step.init_state(slots, device, kept_in)
            sounding: State = {name: stream.pop(name) for name in ("decoder", "latent") if name in stream}
            return cls(device, step.codec.init_encoder_state(slots, device), sounding, stream)

    @property
    def stream(self) -> State:
        """Return the state of a stream that starts from this prompt."""
        return self.sounding | self.reading


@dataclass(frozen=True)
class Heard:
    """A decoded chunk of T frames: its codes, int64 ``[K, T]``, and its sound, float32 ``[T·320]``."""

    codes: Tensor
    audio: Tensor


class PromptPath(Protocol):
    """The three stages. Those of one prompt may run at once; two prompts in one stage take turns, or go together.

    All are called in the context ``for_prompts`` of the device.

    Attributes:
        lanes: most prompts that a stage takes together; none changes what becomes of another. An error leaves the
            states of all as they were.
    """

    lanes: int

    def sizes(self, encoded: int) -> tuple[int, int]:
        """Return the fewest and most frames of the chunk after ``encoded`` frames; the last may have fewer."""
        ...

    def encode(self, chunks: Sequence[tuple[PromptState, Samples]]) -> list[Tensor]:
        """Encode the next samples ``[T·320]`` of each prompt → codes int64 ``[K, T]``, or latents float32
        ``[dimension, T]`` of which ``decode`` finds the codes."""
        ...

    def decode(self, chunks: Sequence[tuple[PromptState, Tensor]]) -> list[Heard]:
        """Decode the next chunk of each prompt, as ``encode`` gave it, or of codes."""
        ...

    def read(self, chunks: Sequence[tuple[PromptState, Heard]]) -> None:
        """Have the model read the next chunk of each prompt, as ``decode`` gave it."""
        ...

    def sounding(self, state: PromptState) -> State:
        """Return the decoder's state behind the last decoded chunk; not to be called while a chunk is decoded."""
        ...

    def settle(self, state: PromptState) -> None:
        """Complete ``state.stream`` once the whole prompt is read."""
        ...


def prompt_path(
    step: FrameStep, device: torch.device, kernels: Kernels, kept_in: torch.dtype = torch.float32
) -> PromptPath:
    """Return the path for prompts on ``device``: with ``kernels`` where these were found, else by torch.

    ``kept_in``: dtype of the model's caches, on a GPU that of products too.
    """
    if device.type == "cuda":
        from whispergpt.engine.gpu import step as gpu  # here alone, because it imports Triton

        if gpu.missing_because(device) is None:
            return GpuPromptPath(step, device, kept_in)
    if kernels.weights is None:
        return TorchPromptPath(step, device)
    return NativePromptPath(step, kernels.weights)


class TorchPromptPath:
    """Prompts by torch, in chunks of fixed size: the last bits of its products depend on their number of rows."""

    GRID = 32
    lanes = 1

    def __init__(self, step: FrameStep, device: torch.device) -> None:
        self._step, self._device = step, device

    def sizes(self, encoded: int) -> tuple[int, int]:
        return self.GRID, self.GRID

    @torch.inference_mode()
    def encode(self, chunks: Sequence[tuple[PromptState, Samples]]) -> list[Tensor]:
        ((state, audio),) = chunks
        samples = torch.from_numpy(audio).to(self._device)[None, None]
        codes = self._step.codec.encode_step(samples, state.encoder, cold=state.encoded == 0)[0]
        state.encoded += codes.shape[-1]
        return [codes]

    @torch.inference_mode()
    def decode(self, chunks: Sequence[tuple[PromptState, Tensor]]) -> list[Heard]:
        ((state, codes),) = chunks
        audio = self._step.hear(codes[None], state.stream, state.decoded)[0]
        state.decoded += codes.shape[-1]
        return [Heard(codes, audio)]

    @torch.inference_mode()
    def read(self, chunks: Sequence[tuple[PromptState, Heard]]) -> None:
        ((state, heard),) = chunks
        self._step.read(heard.codes[None, 0], heard.audio[None], state.stream, state.read)
        state.read += heard.codes.shape[-1]

    def sounding(self, state: PromptState) -> State:
        return state.sounding

    def settle(self, state: PromptState) -> None:
        """Do nothing: torch works on ``state`` itself."""


class GpuPromptPath:
    """Prompts in lanes: by Triton kernels through the codec, and by a captured graph of torch through the model.

    Args:
        dtype: of the decoder's products and of the model's caches. All other products are float32.
    """

    def __init__(self, step: FrameStep, device: torch.device, dtype: torch.dtype) -> None:
        from whispergpt.engine.gpu.prompt_path import LANES, DecodeLanes, EncodeLanes
        from whispergpt.engine.gpu.read_lanes import ReadLanes

        self.lanes, self._frames = LANES, min(TorchPromptPath.GRID, *step.model.windows)
        with torch.inference_mode():
            held = PromptState.fresh(step, device, dtype, LANES)
            self._encode = EncodeLanes(step.codec, held.encoder, device, self._frames)
            self._decode = DecodeLanes(step.codec, held.sounding, device, dtype, self._frames)
            self._read = ReadLanes(step, held.reading, device, self._frames)

    def sizes(self, encoded: int) -> tuple[int, int]:
        return self._frames, self._frames

    def encode(self, chunks: Sequence[tuple[PromptState, Samples]]) -> list[Tensor]:
        states, cold = [state.encoder for state, _ in chunks], [state.encoded == 0 for state, _ in chunks]
        found = self._encode.encode(states, [torch.from_numpy(audio) for _, audio in chunks], cold)
        for (state, _), codes in zip(chunks, found, strict=True):
            state.encoded += codes.shape[1]
        return found

    def decode(self, chunks: Sequence[tuple[PromptState, Tensor]]) -> list[Heard]:
        states, cold = [state.sounding for state, _ in chunks], [state.decoded == 0 for state, _ in chunks]
        found = self._decode.decode(states, [codes for _, codes in chunks], cold)
        for state, codes in chunks:
            state.decoded += codes.shape[1]
        return [Heard(codes, audio) for (_, codes), audio in zip(chunks, found, strict=True)]

    def read(self, chunks: Sequence[tuple[PromptState, Heard]]) -> None:
        states = [state for state, _ in chunks]
        coarse, audio = [heard.codes[0] for _, heard in chunks], [heard.audio for _, heard in chunks]
        self._read.read([state.reading for state in states], coarse, audio, [state.read for state in states])
        for state, codes in zip(states, coarse, strict=True):
            state.read += len(codes)

    def sounding(self, state: PromptState) -> State:
        return state.sounding

    def settle(self, state: PromptState) -> None:
        """Do nothing: chunks leave ``state`` complete."""


class NativePromptPath:
    """Prompts by compiled kernels; their result does not depend on the chunks' sizes."""

    LEAST, MOST = 4, 32
    lanes = 1

    def __init__(self, step: FrameStep, weights: Weights) -> None:
        device = torch.device("cpu")
        self._by_torch = TorchPromptPath(step, device)
        # The kernels cannot compute a first chunk with reflection padding.
        self._starts_by_torch = step.codec.config.pad_mode == "reflect"
        own = PromptState.fresh(step, device, weights.dtype)
        self._encoder, self._decoder, self._reader = (_Lent(part) for part in (own.encoder, own.sounding, own.reading))
        last = leaf(own.sounding, "latent") if "latent" in own.sounding else None
        books, decoder = step.codec.config.n_codebooks, branch(own.sounding, "decoder")
        self._encode = LatentProgram(step.codec, own.encoder, self.MOST, weights)
        self._quantize = QuantizeProgram(step.codec, self.MOST, weights)
        self._decode = DecodeProgram(step.codec, books, decoder, self.MOST, weights, last)
        self._read = ReadProgram(step, own.reading, self.MOST, weights)

    def sizes(self, encoded: int) -> tuple[int, int]:
        if encoded == 0 and self._starts_by_torch:
            return self._by_torch.sizes(encoded)
        return self.LEAST, self.MOST

    def encode(self, chunks: Sequence[tuple[PromptState, Samples]]) -> list[Tensor]:
        ((state, audio),) = chunks
        if state.encoded == 0 and self._starts_by_torch:
            return self._by_torch.encode(chunks)
        frames = len(audio) // HOP
        self._encoder.lend(state.encoder)
        self._encode.audio[:frames] = audio.reshape(frames, HOP)
        self._encode.run(frames)
        state.encoded += frames
        return [torch.from_numpy(self._encode.latents[:frames].copy()).T]

    def decode(self, chunks: Sequence[tuple[PromptState, Tensor]]) -> list[Heard]:
        ((state, codes),) = chunks
        if state.decoded == 0 and self._starts_by_torch:
            return self._by_torch.decode(chunks)
        frames = codes.shape[1]
        if codes.is_floating_point():
            self._quantize.latents[:frames] = codes.T.numpy()
            self._quantize.run(frames)
            codes = torch.from_numpy(self._quantize.codes[:, :frames].astype(np.int64))
        self._decoder.lend(state.sounding)
        self._decode.codes[:, :frames] = codes.numpy()
        self._decode.run(frames)
        state.decoded += frames
        return [Heard(codes, torch.from_numpy(self._decode.audio[:frames].flatten()))]

    def read(self, chunks: Sequence[tuple[PromptState, Heard]]) -> None:
        ((state, heard),) = chunks
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
    """The state at the addresses that kernels know, lent to one prompt at a time."""

    def __init__(self, worked_on: State) -> None:
        self._worked_on = worked_on
        self._owner: State | None = None
        self._lock = threading.RLock()  # one prompt may be settled while a stage of another begins

    def lend(self, owner: State) -> None:
        """Copy the state back to its present owner, and ``owner``'s state in."""
        with self._lock:
            if self._owner is owner:
                return
            if self._owner is not None:
                self.take_back(self._owner)
            with torch.inference_mode():
                copy_into(self._worked_on, owner)
            self._owner = owner

    def take_back(self, owner: State) -> None:
        """Copy the state back to ``owner``, if it has been lent to it."""
        with self._lock, torch.inference_mode():
            if self._owner is owner:
                copy_into(owner, self._worked_on)
                self._owner = None
