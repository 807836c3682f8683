"""A burst of long prompts on a simulated machine, with the real desk and scheduler."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

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
VISITORS, WITHIN_SECONDS = 32, 0.7
LONGEST_SECONDS = 15.0
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

    def __init__(
        self, visitors: list[Visitor], monkeypatch: pytest.MonkeyPatch, stream_seconds: float = 0.00012
    ) -> None:
        monkeypatch.setattr("whispergpt.engine.prompts.desk.THREADS", 0)
        self.now, self.visitors, self.engine = 100.0, visitors, cast(Engine, InstantEngine())
        self.began, self.stream_seconds = self.now, stream_seconds
        self.scheduler = Scheduler(64, lambda: self.now)
        self.desk = PromptDesk(0, clock=lambda: self.now)
        self.desk._line.speed.observe(1000, 1000 * sum(FRAME_SECONDS.values()) / len(Stage))  # of prompts before
        self.players: dict[int, PlaybackClock] = {}
        self.stepped: list[Stream] = []
        self.step_left = 0.0
        self.turns: list[tuple[Turn, float]] = []
        self.come = 0

    def step_seconds(self, streams: int) -> float:
        return 0.0006 + self.stream_seconds * streams

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
            self.bring(self.come, self.visitors[self.come].seconds, PATIENCE_SECONDS)
            self.come += 1

    def bring(self, number: int, seconds: float, patience: float | None) -> None:
        """Send a prompt, unlike all others."""
        self.desk.open(number, self.engine, "")
        self.desk.append(number, np.full(int(seconds * FRAME_RATE) * HOP, number, np.float32))
        self.desk.commit(number, patience=patience)

    def listen(self) -> PlaybackClock:
        """Start a stream whose prompt is there, and return its listener's player."""
        return self.play(-1 - len(self.players), PlaybackClock(BUFFER_SECONDS))

    def play(self, number: int, player: PlaybackClock) -> PlaybackClock:
        self.players[number] = player
        self.scheduler.add(Stream(number, cast(Prompt, None), PLAN, None, self.now))
        return player

    def turn(self) -> None:
        """Take a turn as the worker does, up to the beginning of a step."""
        for done in self.desk.finished():
            if done.prompt_id >= len(self.visitors):
                continue
            visitor = self.visitors[done.prompt_id]
            after = self.now - self.began - visitor.at
            if isinstance(done.outcome, AudioError):
                assert done.outcome.code == "no_capacity"
                visitor.refused_after = after
            else:
                assert isinstance(done.outcome, Prompt)
                visitor.ready_after = after
                self.play(done.prompt_id, visitor.player)
        self.scheduler.prompts_wait = self.desk.awaited
        self.scheduler.admit()
        self.stepped = self.scheduler.runnable()
        self.step_left = self.step_seconds(len(self.stepped))
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
                    self.players[stream.id].arrive(self.now, 1 / FRAME_RATE)
                self.stepped = []


def burst(seed: int) -> list[Visitor]:
    draw = random.Random(seed)
    return [Visitor(draw.uniform(4, LONGEST_SECONDS), WITHIN_SECONDS * n / VISITORS) for n in range(VISITORS)]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_burst_of_long_prompts_is_taken_in_at_the_machines_pace(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody hears a gap; who is taken has its turn within the patience, nearly, and most others are told when they
    come."""
    machine = Machine(burst(seed), monkeypatch)
    machine.run(8)
    served = [v.ready_after for v in machine.visitors if v.ready_after is not None]
    refused = [v.refused_after for v in machine.visitors if v.refused_after is not None]
    assert len(served) + len(refused) == VISITORS and len(served) >= 12
    assert not any(v.player.gaps for v in machine.visitors)
    own = LONGEST_SECONDS * FRAME_RATE * sum(FRAME_SECONDS.values())
    assert max(served) < PATIENCE_SECONDS + LATE_SECONDS + own
    assert sum(after < 0.01 for after in refused) > 0.6 * len(refused)
    assert max(refused) < PATIENCE_SECONDS + LATE_SECONDS


def test_prompts_come_in_at_the_pace_of_what_listeners_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of twelve take 11 of 13 ms: beside prompts without end, listeners would run dry after seconds."""
    machine = Machine([], monkeypatch, stream_seconds=0.0009)
    listeners = [machine.listen() for _ in range(12)]
    machine.run(4)
    for number in range(40):
        machine.bring(number, LONGEST_SECONDS, patience=None)
    machine.run(12)
    assert not any(listener.gaps for listener in listeners)
    worked = sum(one.encoder.passed(stage) for one in machine.desk._arriving.values() for stage in Stage)
    assert worked > 3 * FRAME_RATE * len(Stage), "prompts get what is left"
