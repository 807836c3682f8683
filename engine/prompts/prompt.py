"""Prompts: audio is encoded, decoded and read in chunks, while it arrives, into the state from which streams start."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from whispergpt.engine.audio.audio_file import MAX_PROMPT_SECONDS, MIN_PROMPT_SECONDS, Samples, too_long, too_short
from whispergpt.engine.backends.prompt_path import Heard, PromptPath, PromptState
from whispergpt.engine.config import FRAME_RATE, HOP, NO_LIMIT, SAMPLE_RATE
from whispergpt.engine.device import for_prompts
from whispergpt.engine.low_pass import HISTORY, low_passed
from whispergpt.engine.low_pass import Samples as Pcm
from whispergpt.engine.model.frame_step import to_int16
from whispergpt.engine.model.row_layout import whole_rows
from whispergpt.engine.model.streaming import State, branch, leaf, state_bytes
from whispergpt.engine.prompts.bandwidth import Bandwidth
from whispergpt.engine.prompts.resume import DecoderStates
from whispergpt.engine.stream_plan import FROM_SILENCE, DecoderState, Snapshot


@dataclass(frozen=True)
class Prompt:
    """A prompt ready to be continued, any number of times.

    ``codes`` int64 ``[K, T]``; ``unlimited`` int16 ``[T·320]``, as the codec gives it back; ``state``: one slot, after
    the last frame; ``prefill_seconds``: of decoding and reading. ``start``: the frame of its stream that comes
    first, in a resumed one; ``decoder_state``: the decoder's state from which the stream can be made again;
    ``limit_hz``: bandwidth that it and its streams are limited to, or ``NO_LIMIT``.
    """

    codes: Tensor
    unlimited: Tensor
    state: State
    encode_seconds: float
    prefill_seconds: float
    start: int = 0
    decoder_state: DecoderState = FROM_SILENCE
    limit_hz: int = NO_LIMIT

    @property
    def frames(self) -> int:
        return int(self.codes.shape[1])

    @cached_property
    def row(self) -> Tensor:
        """Return the state as the row ``[bytes]`` of a slot; its position is not in there."""
        return whole_rows(self.state)[0]

    @property
    def position(self) -> Tensor:
        """Return the model's position ``[1]`` behind the last frame."""
        return leaf(branch(self.state, "model"), "position")

    @property
    def decoded(self) -> Tensor:
        """Return the prompt int16 ``[T·320]`` as listeners hear it, filtered when it is asked for."""
        return torch.from_numpy(low_passed(self.unlimited.numpy(), self.limit_hz))

    @property
    def tail(self) -> Pcm:
        """Return the last samples ``[HISTORY]`` before the filter."""
        return self.unlimited[-HISTORY:].numpy()

    @property
    def bytes(self) -> int:
        """Return the bytes of memory that it takes."""
        return self.codes.nbytes + self.unlimited.nbytes + state_bytes(self.state) + len(self.decoder_state.packed)


class Stage(IntEnum):
    """Stages of each chunk, in their order."""

    ENCODE = 0
    DECODE = 1
    READ = 2


class PromptEncoder:
    """One prompt on its way in: ``push`` samples as they come, ``commit`` when that was all.

    Meanwhile ``work`` takes chunk after chunk through the stages, each in a thread of its own or all in one, until the
    prompt ``is_ready``. No stage is worked on by two threads at once.

    Args:
        influence: as ``DecoderStates`` has it.
        keep_bandwidth: whether streams are to keep to the prompt's bandwidth.
    """

    def __init__(self, path: PromptPath, state: PromptState, influence: int = 0, keep_bandwidth: bool = True) -> None:
        self._path, self._state = path, state
        self._lock = threading.Lock()  # guards the samples that wait to be encoded
        self._waiting: list[Samples] = []
        self._waiting_samples = 0
        self._received = 0
        self._committed = False
        self._encoded: deque[Tensor] = deque()
        self._to_measure: deque[Samples] = deque()
        """Samples of encoded chunks; their bandwidth is measured with decoding, while the next chunk is encoded."""
        self._decoded: deque[Heard] = deque()
        self._read: list[Heard] = []
        self._done = dict.fromkeys(Stage, 0)
        self._hash = hashlib.sha256()
        self._seconds = dict.fromkeys(Stage, 0.0)
        self._start, self._decoder_states = 0, DecoderStates(FROM_SILENCE, influence)
        self._bandwidth, self._limit_hz = Bandwidth() if keep_bandwidth else None, NO_LIMIT

    @classmethod
    def resuming(
        cls, path: PromptPath, state: PromptState, codes: Tensor, influence: int, snapshot: Snapshot
    ) -> PromptEncoder:
        """Return a whole prompt of a snapshot's codes ``[K, T]``, still to be decoded and read."""
        encoder, decoder_state = cls(path, state, influence, keep_bandwidth=False), snapshot.decoder_state
        encoder._start, encoder._decoder_states = decoder_state.start, DecoderStates(decoder_state, influence)
        encoder._limit_hz = snapshot.limit_hz
        encoder._encoded.extend(codes.split(path.sizes(0)[1], dim=1))
        encoder._received, encoder._done[Stage.ENCODE] = codes.shape[1] * HOP, codes.shape[1]
        encoder._committed = True
        return encoder

    def push(self, samples: Samples) -> None:
        """Take mono float32 samples ``[n]`` at 24 kHz.

        Raises:
            AudioError: the prompt is longer than 60 seconds (``too_long``).
        """
        self._received += len(samples)
        if self._received > MAX_PROMPT_SECONDS * SAMPLE_RATE:
            raise too_long()
        self._hash.update(np.ascontiguousarray(samples).data)
        with self._lock:
            self._waiting.append(samples)
            self._waiting_samples += len(samples)

    def commit(self) -> None:
        """End the prompt; less than a frame at its end is left out.

        Raises:
            AudioError: the prompt is shorter than 0.5 seconds (``too_short``).
        """
        # Samples may have been cut to whole frames already: half a second is then 37 frames, a little less.
        if self._received < int(MIN_PROMPT_SECONDS * FRAME_RATE) * HOP:
            raise too_short(self._received / SAMPLE_RATE)
        self._committed = True

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 of all samples so far."""
        return self._hash.digest()

    def left(self, stage: Stage) -> int:
        """Return the frames that came and have not passed a stage."""
        return self._received // HOP - self._done[stage]

    @property
    def work_left(self) -> int:
        """Return the frames that came and are still to pass each stage, summed over the stages."""
        return len(Stage) * (self._received // HOP) - sum(self._done.values())

    def passed(self, stage: Stage) -> int:
        """Return the frames that have passed a stage."""
        return self._done[stage]

    def can(self, stage: Stage) -> bool:
        """Return whether a chunk waits for a stage."""
        if stage == Stage.DECODE:
            return bool(self._encoded)
        if stage == Stage.READ:
            return bool(self._decoded)
        least = 1 if self._committed else self._path.sizes(self._state.encoded)[0]
        return self._waiting_samples >= least * HOP

    def will_need(self, stage: Stage) -> bool:
        """Return whether frames of a committed prompt are still to pass a stage."""
        return self._committed and self.left(stage) > 0

    @property
    def lanes(self) -> int:
        """Return how many prompts of this one's model a stage takes at once."""
        return self._path.lanes

    def work(self, stage: Stage, most: int | None = None) -> None:
        """Take one chunk through a stage; a chunk to encode has at most ``most`` frames where its size is free."""
        work_together([self], stage, most)

    @property
    def is_ready(self) -> bool:
        """Return whether a committed prompt has passed all stages."""
        return self._committed and not self.left(Stage.READ)

    def result(self) -> Prompt:
        """Return the prompt, once it is ready, with a state that is complete on the device."""
        assert self.is_ready
        with for_prompts(self._state.device):
            self._path.settle(self._state)
            codes = torch.cat([heard.codes for heard in self._read], dim=1).cpu()
            samples = to_int16(torch.cat([heard.audio for heard in self._read])).cpu()  # waits for all stages
        return Prompt(
            codes,
            samples,
            self._state.stream,
            self._seconds[Stage.ENCODE],
            self._seconds[Stage.DECODE] + self._seconds[Stage.READ],
            self._start,
            self._decoder_states.oldest,
            self._limit_hz if self._bandwidth is None else self._bandwidth.limit(),
        )

    def finish(self) -> Prompt:
        """Commit, and do all stages in this thread.

        Raises:
            AudioError: the prompt is too short.
        """
        self.commit()
        while not self.is_ready:
            for stage in Stage:
                if self.can(stage):
                    self.work(stage)
        return self.result()

    def _next_samples(self, most: int | None) -> Samples:
        """Return the samples of the next chunk, ``[T·320]``, which wait until they are encoded."""
        fewest, room = self._path.sizes(self._state.encoded)
        with self._lock:
            frames = min(self._waiting_samples // HOP, room, max(fewest, most or room))
            self._waiting = [self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)]
            return self._waiting[0][: frames * HOP]

    def _take_encoded(self, encoded: Tensor) -> None:
        """Note that the first samples were encoded."""
        count = encoded.shape[1] * HOP
        with self._lock:
            samples, self._waiting[0] = self._waiting[0][:count], self._waiting[0][count:]
            self._waiting_samples -= count
        if self._bandwidth is not None:
            self._to_measure.append(samples)
        self._encoded.append(encoded)
        self._done[Stage.ENCODE] += encoded.shape[1]

    def _take_sound(self, heard: Heard) -> None:
        """Note that the first encoded chunk was decoded."""
        self._encoded.popleft()
        if self._bandwidth is not None:
            self._bandwidth.push(self._to_measure.popleft())
        self._decoded.append(heard)
        self._done[Stage.DECODE] += heard.codes.shape[1]
        self._decoder_states.note(self._state.decoded, lambda: self._path.sounding(self._state))

    def _take_read(self) -> None:
        """Note that the first sound was read."""
        heard = self._decoded.popleft()
        self._read.append(heard)
        self._done[Stage.READ] += heard.codes.shape[1]


def work_together(prompts: Sequence[PromptEncoder], stage: Stage, most: int | None = None) -> None:
    """Take a chunk of each of several prompts through a stage, at most as many as there are ``lanes``.

    An error leaves all of them as they were, so that each can be tried alone. ``most`` is that of ``work``.
    """
    began, path = time.perf_counter(), prompts[0]._path
    with for_prompts(prompts[0]._state.device):
        match stage:
            case Stage.ENCODE:
                encoded = path.encode([(prompt._state, prompt._next_samples(most)) for prompt in prompts])
                for prompt, found in zip(prompts, encoded, strict=True):
                    prompt._take_encoded(found)
            case Stage.DECODE:
                decoded = path.decode([(prompt._state, prompt._encoded[0]) for prompt in prompts])
                for prompt, heard in zip(prompts, decoded, strict=True):
                    prompt._take_sound(heard)
            case Stage.READ:
                path.read([(prompt._state, prompt._decoded[0]) for prompt in prompts])
                for prompt in prompts:
                    prompt._take_read()
    for prompt in prompts:
        prompt._seconds[stage] += time.perf_counter() - began
