"""Prompts: audio is encoded and prefilled in chunks, while it arrives, into the state from which streams start."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.audio_file import MAX_PROMPT_SECONDS, MIN_PROMPT_SECONDS, AudioError, Samples, too_short
from engine.config import FRAME_RATE, HOP, SAMPLE_RATE
from engine.prompt_path import PromptPath, PromptState
from engine.streaming import State, state_bytes


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

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.codes.nbytes + self.decoded.nbytes + state_bytes(self.state)


class PromptEncoder:
    """One prompt on its way in: ``push`` samples as they come, ``commit`` when that was all.

    Meanwhile ``encode`` takes chunk after chunk of them and ``prefill`` chunk after chunk of the codes, each in a
    thread of its own or all in one, until the prompt ``is_ready``.
    """

    def __init__(self, path: PromptPath, state: PromptState) -> None:
        self._path, self._state = path, state
        self._lock = threading.Lock()  # of what waits to be encoded
        self._waiting: list[Samples] = []
        self._waiting_samples = 0
        self._received = 0
        self._committed = False
        self._encoded: deque[Tensor] = deque()
        self._codes: list[Tensor] = []
        self._decoded: list[Tensor] = []
        self._hash = hashlib.sha256()
        self._encode_seconds = self._prefill_seconds = 0.0

    def push(self, samples: Samples) -> None:
        """Take mono float32 samples ``[n]`` at 24 kHz.

        Raises:
            AudioError: the prompt is longer than 60 seconds (``too_long``).
        """
        self._received += len(samples)
        if self._received > MAX_PROMPT_SECONDS * SAMPLE_RATE:
            raise AudioError("too_long", f"The prompt is longer than {MAX_PROMPT_SECONDS:g} s; send at most that much.")
        self._hash.update(np.ascontiguousarray(samples).data)
        with self._lock:
            self._waiting.append(samples)
            self._waiting_samples += len(samples)

    def commit(self) -> None:
        """Nothing more comes; what is less than a frame is left out.

        Raises:
            AudioError: the prompt is shorter than 0.5 seconds (``too_short``).
        """
        # What arrives may have been cut to whole frames already: half a second is then 37 frames, a little less.
        if self._received < int(MIN_PROMPT_SECONDS * FRAME_RATE) * HOP:
            raise too_short(self._received / SAMPLE_RATE)
        self._committed = True

    @property
    def digest(self) -> bytes:
        """SHA-256 of all samples so far."""
        return self._hash.digest()

    @property
    def can_encode(self) -> bool:
        """Whether a chunk of samples waits."""
        least = 1 if self._committed else self._path.sizes(self._state.encoded)[0]
        return self._waiting_samples >= least * HOP

    def encode(self, most: int | None = None) -> None:
        """Encode one chunk, of at most ``most`` frames where its size is free."""
        fewest, room = self._path.sizes(self._state.encoded)
        frames = min(self._waiting_samples // HOP, room, max(fewest, most or room))
        with self._lock:
            joined = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
            self._waiting, self._waiting_samples = [joined[frames * HOP :]], len(joined) - frames * HOP
        began = time.perf_counter()
        codes = self._path.encode(self._state, joined[: frames * HOP])
        self._encode_seconds += time.perf_counter() - began
        self._encoded.append(codes)

    @property
    def can_prefill(self) -> bool:
        """Whether a chunk of codes waits."""
        return bool(self._encoded)

    def prefill(self) -> None:
        """Prefill one chunk, as it was encoded."""
        codes = self._encoded.popleft()
        began = time.perf_counter()
        self._decoded.append(self._path.prefill(self._state, codes))
        self._codes.append(codes)
        self._prefill_seconds += time.perf_counter() - began

    @property
    def is_ready(self) -> bool:
        """Whether all of a committed prompt is prefilled."""
        return self._committed and self._state.prefilled == self._received // HOP

    def result(self) -> Prompt:
        """The prompt, once it is ready."""
        assert self.is_ready
        self._path.settle(self._state)
        return Prompt(
            torch.cat(self._codes, dim=1),
            torch.cat(self._decoded),
            self._state.stream,
            self._encode_seconds,
            self._prefill_seconds,
        )

    def finish(self) -> Prompt:
        """Commit and do all that is left, here.

        Raises:
            AudioError: the prompt is too short.
        """
        self.commit()
        while not self.is_ready:
            if self.can_encode:
                self.encode()
            self.prefill()
        return self.result()
