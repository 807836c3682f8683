"""Prompts: audio is encoded and prefilled in chunks, while it arrives, into the state from which streams start."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.audio_file import MAX_PROMPT_SECONDS, MIN_PROMPT_SECONDS, AudioError, Samples, too_short
from engine.config import FRAME_RATE, HOP, SAMPLE_RATE
from engine.frame_step import FrameStep, to_int16
from engine.streaming import State

CHUNK_FRAMES = 32
"""Frames encoded and prefilled at once. The grid is fixed, so a prompt's state does not depend on how it arrived."""


@dataclass(frozen=True)
class Prompt:
    """A prompt ready to be continued, any number of times.

    ``codes`` int64 ``[K, T]``; ``decoded`` int16 ``[T·320]``, as the codec gives it back; ``state``: one slot, after
    the last frame.
    """

    codes: Tensor
    decoded: Tensor
    state: State
    encode_seconds: float
    prefill_seconds: float

    @property
    def frames(self) -> int:
        return int(self.codes.shape[1])


class PromptEncoder:
    """One prompt on its way in: ``push`` samples as they come, ``work`` through them chunk by chunk, ``finish``."""

    def __init__(self, step: FrameStep, device: torch.device) -> None:
        self._step, self._device = step, device
        self._pending: list[Samples] = []
        self._pending_samples = 0
        self._received = 0
        with torch.inference_mode():
            self._encoder = step.codec.init_encoder_state(1, device)
            self._state = step.init_state(1, device)
        self._codes: list[Tensor] = []
        self._decoded: list[Tensor] = []
        self._frames = 0
        self._encode_seconds = self._prefill_seconds = 0.0

    def push(self, samples: Samples) -> None:
        """Take mono float32 samples ``[n]`` at 24 kHz.

        Raises:
            AudioError: the prompt is longer than 60 seconds (``too_long``).
        """
        self._received += len(samples)
        if self._received > MAX_PROMPT_SECONDS * SAMPLE_RATE:
            raise AudioError("too_long", f"The prompt is longer than {MAX_PROMPT_SECONDS:g} s; send at most that much.")
        self._pending.append(samples)
        self._pending_samples += len(samples)

    @property
    def has_work(self) -> bool:
        """Whether a whole chunk waits."""
        return self._pending_samples >= CHUNK_FRAMES * HOP

    def work(self) -> None:
        """Encode and prefill one chunk."""
        self._chunk(CHUNK_FRAMES)

    def finish(self) -> Prompt:
        """Do what is left, less than a chunk, and give the prompt.

        Raises:
            AudioError: it is shorter than 0.5 seconds (``too_short``).
        """
        # What arrives may have been cut to whole frames already: half a second is then 37 frames, a little less.
        if self._received < int(MIN_PROMPT_SECONDS * FRAME_RATE) * HOP:
            raise too_short(self._received / SAMPLE_RATE)
        while self.has_work:
            self.work()
        if self._pending_samples >= HOP:
            self._chunk(self._pending_samples // HOP)
        return Prompt(
            torch.cat(self._codes, dim=1),
            torch.cat(self._decoded),
            self._state,
            self._encode_seconds,
            self._prefill_seconds,
        )

    @torch.inference_mode()
    def _chunk(self, frames: int) -> None:
        joined = np.concatenate(self._pending)
        samples, rest = joined[: frames * HOP], joined[frames * HOP :]
        self._pending, self._pending_samples = [rest], len(rest)
        began = time.perf_counter()
        audio = torch.from_numpy(samples).to(self._device)[None, None]
        codes = self._step.codec.encode_step(audio, self._encoder, cold=self._frames == 0)
        encoded = time.perf_counter()
        decoded = self._step.prefill(codes, self._state, self._frames)
        self._codes.append(codes[0])
        self._decoded.append(to_int16(decoded).cpu())
        self._frames += frames
        self._encode_seconds += encoded - began
        self._prefill_seconds += time.perf_counter() - encoded
