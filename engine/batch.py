"""Generation of many continuations as fast as the engine's slots allow, for callers that need no playback."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Take(Generic[_T]):
    """A job's continuation: samples int16 ``[T, 320]`` and coarse codes uint16 ``[T]``; ``finite``: whether the model's
    numbers were, to its end."""

    key: _T
    pcm: npt.NDArray[np.int16]
    codes: npt.NDArray[np.uint16]
    finite: bool = True


def generate_all(
    engine: Engine, jobs: Iterable[Job[_T]], on_frames: Callable[[int], object] = lambda count: None
) -> Iterator[Take[_T]]:
    """Yield each job's continuation as it ends.

    Args:
        jobs: taken when a slot is free, so that no more prompts than slots are in memory.
        on_frames: called after each step with the number of new frames.
    """
    waiting = iter(jobs)
    growing: dict[int, Take[_T]] = {}
    while True:
        while len(growing) < engine.scheduler.slots and (job := next(waiting, None)):
            stream = engine.stream(job.prompt, job.sampling, job.frames)
            growing[stream.id] = Take(job.key, np.zeros((job.frames, HOP), np.int16), np.zeros(job.frames, np.uint16))
        if not growing:
            return
        report = engine.step()
        for frame in report.frames:
            whole = growing[frame.stream.id]
            whole.pcm[frame.index], whole.codes[frame.index] = frame.pcm, frame.code
        on_frames(len(report.frames))
        for stream in report.failed:
            yield replace(growing.pop(stream.id), finite=False)
        for stream in report.ended:
            yield growing.pop(stream.id)
