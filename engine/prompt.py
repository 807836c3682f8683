"""Prompts: audio is encoded and prefilled in chunks, while it arrives, into the state from which streams start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.audio_file import MAX_PROMPT_SECONDS, MIN_PROMPT_SECONDS, AudioError, Samples, too_short
from engine.config import FRAME_RATE, HOP, SAMPLE_RATE
from engine.prompt_path import PromptPath, PromptState, Taken
from engine.streaming import State


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

    def __init__(self, path: PromptPath, state: PromptState) -> None:
        self._path, self._state = path, state
        self._pending: list[Samples] = []
        self._pending_samples = 0
        self._received = 0
        self._taken: list[Taken] = []

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
        """Whether a chunk waits."""
        return self._pending_samples >= self._path.least * HOP

    def work(self, most: int | None = None) -> None:
        """Encode and prefill one chunk, of at most ``most`` frames where its size is free."""
        waiting = self._pending_samples // HOP
        self._chunk(min(waiting, self._path.most, max(self._path.least, most or self._path.most)))

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
        self._path.settle(self._state)
        return Prompt(
            torch.cat([taken.codes for taken in self._taken], dim=1),
            torch.cat([taken.decoded for taken in self._taken]),
            self._state.stream,
            sum(taken.encode_seconds for taken in self._taken),
            sum(taken.prefill_seconds for taken in self._taken),
        )

    def _chunk(self, frames: int) -> None:
        joined = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)
        samples, rest = joined[: frames * HOP], joined[frames * HOP :]
        self._pending, self._pending_samples = [rest], len(rest)
        self._taken.append(self._path.take(self._state, samples))
