"""The codec over prompts in lanes: a fixed number of prompts, each with up to so many frames, in one captured graph.

The shape never changes and lanes share nothing, so a prompt's result does not depend on the prompts in other lanes. Its
sums have the same order in chunks of any size. Lanes are made and used in the context ``engine.device.for_prompts``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whispergpt.engine.config import HOP
from whispergpt.engine.gpu.codec_layers import CodecLayers
from whispergpt.engine.gpu.emitter import UNUSED, Emitter, Signal
from whispergpt.engine.gpu.replay import Run, compile_kernels, runner
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.streaming import State, branch, copy_all, leaf, rows

LANES = 16
"""Prompts at once: the smallest block that products take."""
FRAMES = 32
"""Most frames of a chunk."""


class LaneProgram(Emitter):
    """A program over lanes that is being built.

    Args:
        state: that the lanes work on, of ``LANES`` slots. If it is laid out as the state of prompts, a GPU copies the
            tensors of all lanes at once.
        cold_frames: fewest frames of a chunk that starts a stream, if the codec mirrors its first samples; else 1.
    """

    def __init__(self, state: State, device: torch.device, dtype: torch.dtype, frames: int, cold_frames: int) -> None:
        super().__init__(LANES, device, dtype)
        self.rows, self.slots = LANES, self.slots[:LANES]
        self.frames, self._cold_frames = frames, cold_frames
        self._lanes = [rows(state, lane, lane + 1) for lane in range(LANES)]
        self._counts = torch.zeros(LANES, dtype=torch.int32, device=device)
        self._cold = torch.zeros(LANES, dtype=torch.int32, device=device)
        cold = self._cold if cold_frames > 1 else None
        self.stage("codec")
        self._layers = CodecLayers(self, frames, self._counts, cold)
        self._launch_all: Run

    def _run_lanes(self, states: Sequence[State], counts: Sequence[int], cold: Sequence[bool]) -> None:
        """Run a chunk of up to ``LANES`` prompts, whose inputs are in place, and put their new state back.

        Raises:
            ValueError: a chunk starts a stream and is too short for that.
        """
        assert len(states) == len(counts) == len(cold) <= LANES and all(0 < count <= self.frames for count in counts)
        if any(first and count < self._cold_frames for first, count in zip(cold, counts, strict=True)):
            raise ValueError(
                f"a codec with reflection padding needs at least {self._cold_frames} frames to start a stream"
            )
        lanes, unused = len(states), [0] * (LANES - len(states))
        self.slots.copy_(torch.tensor([*range(lanes), *(UNUSED for _ in unused)], dtype=torch.int32))
        self._counts.copy_(torch.tensor([*counts, *unused], dtype=torch.int32))
        self._cold.copy_(torch.tensor([*map(int, cold), *unused], dtype=torch.int32))
        copy_all(self._lanes[:lanes], states)
        self._launch_all()
        copy_all(states, self._lanes[:lanes])

    def _finish(self) -> None:
        """End the layout: compile the kernels, and make one call of them."""
        compile_kernels(self.launches, LANES, self.device)
        self._launch_all = runner(self.launches, LANES, self.device)


class EncodeLanes(LaneProgram):
    """Samples to codes. Its products are float32, because rounding would change the choice between near entries."""

    def __init__(self, codec: Codec, state: State, device: torch.device, frames: int = FRAMES) -> None:
        super().__init__(state, device, torch.float32, frames, codec.config.frames_to_prime)
        self._audio = self.buffer(frames * HOP, 1)
        self._codes = torch.zeros(LANES, codec.config.n_codebooks, frames, dtype=torch.int32, device=device)
        latent = self._layers.seanet(codec.encoder, self._audio, state)
        self._layers.nearest(latent, codec.quantizer.entries, self._codes, book_stride=frames)
        self._layers.keep_contexts()
        self._finish()

    @torch.inference_mode()
    def encode(self, states: Sequence[State], audio: Sequence[Tensor], cold: Sequence[bool]) -> list[Tensor]:
        """Encode a chunk of each prompt: samples ``[T·320]`` → codes int64 ``[K, T]``.

        Args:
            states: the prompts' encoder states, of one slot each, which are advanced.
            audio: float32, whole frames, at most ``frames``.
            cold: whether a prompt starts with its chunk.
        """
        for lane, samples in enumerate(audio):
            self._audio.memory[lane, : len(samples)].copy_(samples)
        counts = [len(samples) // HOP for samples in audio]
        self._run_lanes(states, counts, cold)
        return [self._codes[lane, :, :count].long() for lane, count in enumerate(counts)]


class DecodeLanes(LaneProgram):
    """Codes to samples, as the frame step continues them.

    Args:
        state: trees ``decoder`` and, for a fine stage that draws, ``latent``, which keeps the last frame's.
    """

    def __init__(
        self, codec: Codec, state: State, device: torch.device, dtype: torch.dtype, frames: int = FRAMES
    ) -> None:
        super().__init__(state, device, dtype, frames, codec.config.frames_to_prime)
        self._codes = torch.zeros(LANES, codec.config.n_codebooks, frames, dtype=torch.int32, device=device)
        latent = self._layers.entries(self._codes, codec.quantizer.entries, book_stride=frames)
        if "latent" in state:
            self._layers.keep_end(latent, leaf(state, "latent"))
        self._audio: Signal = self._layers.seanet(codec.decoder, latent, branch(state, "decoder"))
        self._layers.keep_contexts()
        self._finish()

    @torch.inference_mode()
    def decode(self, states: Sequence[State], codes: Sequence[Tensor], cold: Sequence[bool]) -> list[Tensor]:
        """Decode a chunk of each prompt: codes ``[K, T]`` → samples float32 ``[T·320]``.

        Args:
            states: trees ``decoder`` and, if kept, ``latent``, of one slot each, which are advanced.
            codes: at most ``frames`` frames each.
            cold: whether a prompt starts with its chunk.
        """
        self._codes.zero_()
        for lane, chunk in enumerate(codes):
            self._codes[lane, :, : chunk.shape[1]].copy_(chunk)
        counts = [chunk.shape[1] for chunk in codes]
        self._run_lanes(states, counts, cold)
        return [self._audio.memory[lane, : count * HOP].clone() for lane, count in enumerate(counts)]
