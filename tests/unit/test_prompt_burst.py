"""A burst of long prompts on a simulated machine, with the real desk and scheduler: no listener hears a gap, and whoever
would wait too long is refused."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from whispergpt.engine.audio.audio_file import AudioError, Samples
from whispergpt.engine.backends.prompt_path import Heard, PromptState
from whispergpt.engine.config import FRAME_RATE, HOP
from whispergpt.engine.engine import Engine
from whispergpt.engine.model.streaming import State
from whispergpt.engine.playback_clock import BUFFER_SECONDS, PlaybackClock
from whispergpt.engine.prompts.desk import PromptDesk, Turn
from whispergpt.engine.prompts.line import CHUNK_FRAMES, LATE_SECONDS
from whispergpt.engine.prompts.prompt import Prompt, PromptEncoder, Stage
from whispergpt.engine.stream_plan import SamplingParams, StreamPlan
from whispergpt.engine.streams.scheduler import Scheduler, Stream

PATIENCE_SECONDS = 2.0
TICK_SECONDS = 0.0005
PROCESSORS = 2
FRAME_SECONDS = {Stage.ENCODE: 170e-6, Stage.DECODE: 90e-6, Stage.READ: 65e-6}
"""Seconds of one processor for a frame, by stage."""
BESIDE_STEPS = 0.29
"""Share of a processor that a prompt's thread has beside a step, by its priority."""
PLAN = StreamPlan(SamplingParams(seed=0, temperature=1.0, top_k=0, top_p=1.0), None, "realtime")


class Instant:
    """A way to take prompts in that computes nothing; the machine below counts its time."""

    lanes = 1

    def sizes(self, encoded: int) -> tuple[int, int]:
        return 4, CHUNK_FRAMES

    def encode(self, chunks: Sequence[tuple[PromptState, Samples]]) -> list[Tensor]:
        return [torch.zeros(1, len(audio) // HOP, dtype=torch.int64) for _, audio in chunks]

    def decode(self, chunks: Sequence[tuple[PromptState, Tensor]]) -> list[Heard]:
        return [Heard(codes, torch.zeros(codes.shape[1] * HOP)) for _, codes in chunks]

    def read(self, chunks: Sequence[tuple[PromptState, Heard]]) -> None:
        pass

    def sounding(self, state: PromptState) -> State:
        return {}

    def settle(self, state: PromptState) -> None:
        pass


class InstantEngine:
    """Opens prompts of that way."""

    model = SimpleNamespace(id="speech")

    def open_prompt(self) -> PromptEncoder:
        return PromptEncoder(Instant(), PromptState(torch.device("cpu"), {}, {}, {}), keep_bandwidth=False)


@dataclass
class Visitor:
    seconds: float
    at: float
    player: PlaybackClock = field(default_factory=lambda: PlaybackClock(BUFFER_SECONDS))
    refused_after: float | None = None
    ready_after: float | None = None


class Machine:
    """Two processors, a step of all due streams at a time, and two threads that take prompts in at a lower priority."""

    def __init__(self, visitors: list[Visitor], gives_way: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("whispergpt.engine.prompts.desk.THREADS", 0)
        self.now, self.visitors, self.engine = 100.0, visitors, cast(Engine, InstantEngine())
        self.began, self.gives_way = self.now, gives_way
        self.scheduler = Scheduler(64, lambda: self.now)
        self.desk = PromptDesk(0, clock=lambda: self.now)
        self.stepped: list[Stream] = []
        self.step_left = 0.0
        self.turns: list[tuple[Turn, float]] = []
        self.come = 0

    def step_seconds(self, streams: int) -> float:
        return 0.0006 + 0.00012 * streams

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.arrive()
            if not self.stepped:
                self.turn()
            while len(self.turns) < PROCESSORS and (turn := self.desk._due()) is not None:
                self.turns.append((turn, self.frames(turn) * FRAME_SECONDS[turn.stage]))
            self.now += TICK_SECONDS
            self.work()

    def frames(self, turn: Turn) -> int:
        (one,) = turn.prompts
        left = {Stage.ENCODE: one.most_frames, Stage.DECODE: CHUNK_FRAMES, Stage.READ: CHUNK_FRAMES}[turn.stage]
        return min(left, one.encoder.left(turn.stage))

    def arrive(self) -> None:
        while self.come < len(self.visitors) and self.visitors[self.come].at <= self.now - self.began:
            number, visitor = self.come, self.visitors[self.come]
            self.come += 1
            self.desk.open(number, self.engine, "")
            self.desk.append(number, np.full(int(visitor.seconds * FRAME_RATE) * HOP, number, np.float32))
            self.desk.commit(number, patience=PATIENCE_SECONDS)

    def turn(self) -> None:
        """Take a turn as the worker does, up to the beginning of a step."""
        for done in self.desk.finished():
            visitor = self.visitors[done.prompt_id]
            after = self.now - self.began - visitor.at
            if isinstance(done.outcome, AudioError):
                assert done.outcome.code == "no_capacity"
                visitor.refused_after = after
            else:
                assert isinstance(done.outcome, Prompt)
                visitor.ready_after = after
                self.scheduler.add(Stream(done.prompt_id, done.outcome, PLAN, None, self.now))
        self.scheduler.prompts_wait = self.desk.awaited
        self.scheduler.admit()
        self.stepped = self.scheduler.runnable()
        self.step_left = self.step_seconds(len(self.stepped))
        if self.gives_way:
            self.desk.give_way(len(self.desk) > 0 and self.scheduler.short)

    def work(self) -> None:
        beside = bool(self.stepped)
        turns, self.turns = self.turns, []
        for turn, left in turns:
            left -= TICK_SECONDS * (BESIDE_STEPS if beside else 1.0)
            if left > 0:
                self.turns.append((turn, left))
            else:
                self.desk._advance(*turn)
        if beside:
            self.step_left -= TICK_SECONDS * (1 - BESIDE_STEPS if turns else 1.0)
            if self.step_left <= 0:
                for stream in self.stepped:
                    self.scheduler.advance(stream)
                    self.visitors[stream.id].player.arrive(self.now, 1 / FRAME_RATE)
                self.stepped = []


def burst(seed: int) -> list[Visitor]:
    draw = random.Random(seed)
    return [Visitor(draw.uniform(4, 15), 0.7 * number / 32) for number in range(32)]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_burst_of_long_prompts_is_taken_in_at_the_machines_pace(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(burst(seed), True, monkeypatch)
    machine.desk._line.speed.observe(1000, 1000 * sum(FRAME_SECONDS.values()) / len(Stage))  # of prompts before
    machine.run(8)
    served = [v for v in machine.visitors if v.ready_after is not None]
    refused = [v for v in machine.visitors if v.refused_after is not None]
    print(
        len(served),
        sorted(round(v.ready_after, 2) for v in served),
        sorted(round(v.refused_after, 2) for v in refused),
        [len(v.player.gaps) for v in served],
    )
    assert len(served) + len(refused) == 32 and len(served) >= 8
    assert max(v.player.largest_gap for v in served) == 0
    own = max(v.seconds for v in served) * FRAME_RATE * sum(FRAME_SECONDS.values())
    assert max(cast(Any, v.ready_after) for v in served) < PATIENCE_SECONDS + LATE_SECONDS + own
    at_once = [v for v in refused if cast(Any, v.refused_after) < 0.1]
    assert len(at_once) > len(refused) / 2, "most are told when they come"
