"""Generation of many continuations as fast as the engine's slots allow, for callers that need no playback."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from whispergpt.engine.config import HOP
from whispergpt.engine.engine import Engine
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import SamplingParams

_T = TypeVar("_T")


@dataclass(frozen=True)
class Job(Generic[_T]):
    """A prompt to continue by ``frames``; ``key`` is the caller's name for it."""

    key: _T
    prompt: Prompt
    sampling: SamplingParams
    frames: int


@dataclass
class _Growing(Generic[_T]):
    key: _T
    pcm: npt.NDArray[np.int16]


def generate_all(
    engine: Engine, jobs: Iterable[Job[_T]], on_frames: Callable[[int], object] = lambda count: None
) -> Iterator[tuple[_T, npt.NDArray[np.int16] | None]]:
    """Yield each job's key and samples int16 ``[n]`` as it ends; None if its numbers are no longer finite.

    Args:
        jobs: taken when a slot is free, so that no more prompts than slots are in memory.
        on_frames: called after each step with the number of new frames.
    """
    waiting = iter(jobs)
    growing: dict[int, _Growing[_T]] = {}
    while True:
        while len(growing) < engine.scheduler.slots and (job := next(waiting, None)):
            stream = engine.stream(job.prompt, job.sampling, job.frames)
            growing[stream.id] = _Growing(job.key, np.zeros((job.frames, HOP), np.int16))
        if not growing:
            return
        report = engine.step()
        for frame in report.frames:
            growing[frame.stream.id].pcm[frame.index] = frame.pcm
        on_frames(len(report.frames))
        for stream in report.failed:
            yield growing.pop(stream.id).key, None
        for stream in report.ended:
            done = growing.pop(stream.id)
            yield done.key, done.pcm.reshape(-1)
