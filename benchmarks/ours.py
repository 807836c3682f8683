"""This engine as a runner of the bench, and the latencies of a single stream."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass

import torch

from whispergpt.benchmarks.bench_desk import BenchDesk
from whispergpt.benchmarks.preset import prompt_audio
from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.config import Dtype
from whispergpt.engine.engine import Engine
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import SamplingParams
from whispergpt.engine.streams.scheduler import Stream
from whispergpt.load.percentiles import Percentiles

FEWEST_SLOTS = 16
PROMPT_SECONDS = 3.0
"""Seconds of each prompt in the measurement of the time to first audio."""


class OurRunner:
    """Runner over ``Engine.step``: scheduler, frame step, and the copies of the samples that the server would get."""

    frames = 1

    def __init__(self, model: LoadedModel, device: torch.device, dtype: Dtype = "auto") -> None:
        self._model, self._device, self._dtype = model, device, dtype
        self._prompt: Prompt | None = None
        self._started: list[Stream] = []
        self.engine = Engine(model, device, FEWEST_SLOTS, dtype=dtype)

    def prepare(self, streams: int) -> None:
        """Start ``streams`` streams with different seeds from one prompt that is longer than the window."""
        if streams > self.engine.scheduler.slots:
            slots = 1 << (streams - 1).bit_length()
            self.engine = Engine(self._model, self._device, slots, dtype=self._dtype)
            self._started = []
        for stream in self._started:
            self.engine.cancel(stream)
        prompt = self._full_prompt()
        self._started = [self.engine.stream(prompt, _sampling(seed), frames=None) for seed in range(streams)]

    def advance(self) -> None:
        made = len(self.engine.step().frames)
        assert made == len(self._started), f"{made} of {len(self._started)} streams were stepped"

    def stage_seconds(self, streams: int, steps: int = 30) -> dict[str, float]:
        """Return the mean seconds of each stage of a step of ``streams`` streams, over all threads together."""
        self.prepare(streams)
        self.advance()
        stages: dict[str, float] = {}
        for _ in range(steps):
            self.engine.path.step(list(range(streams)), stages)
        return {stage: seconds / steps for stage, seconds in stages.items()}

    def _full_prompt(self) -> Prompt:
        if self._prompt is None:
            self._prompt = self.engine.encode_prompt(prompt_audio(self._model.step))
        return self._prompt


def _sampling(seed: int) -> SamplingParams:
    return SamplingParams(seed=seed, temperature=1.0, top_k=0, top_p=1.0)


@dataclass(frozen=True)
class Single:
    """Latencies of a single stream, in milliseconds."""

    time_to_first_audio_ms: Percentiles
    frame_ms: Percentiles
    stage_ms: dict[str, float]


def measure_single(runner: OurRunner, prompts: int = 50, steps: int = 1500) -> Single:
    """Measure a single stream.

    The time to first audio covers the encoding of a whole 3 s prompt at the server's prompt desk, and one frame. It is
    measured for ``prompts`` prompts, and the time of a frame over ``steps`` steps with a full window.
    """
    engine = runner.engine
    audio = prompt_audio(engine.model.step, PROMPT_SECONDS)
    runner.prepare(0)  # no other stream plays
    first: list[float] = []
    with closing(BenchDesk(engine)) as desk:
        for index in range(prompts + 1):
            began = time.perf_counter()
            stream = engine.stream(desk.take_in(audio), _sampling(index), frames=1)
            if index == 0:
                engine.cancel(stream)  # the first encodes with cold caches
                continue
            while not stream.ended:
                engine.step()
            first.append(1e3 * (time.perf_counter() - began))
    runner.prepare(1)
    runner.advance()
    taken: list[float] = []
    for _ in range(steps):
        began = time.perf_counter()
        runner.advance()
        taken.append(1e3 * (time.perf_counter() - began))
    stages = {stage: 1e3 * seconds for stage, seconds in runner.stage_seconds(1, steps=100).items()}
    return Single(Percentiles.of(first), Percentiles.of(taken), stages)
