"""The scheduler's decisions over columns are those of its rules, written out here for one stream at a time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import Pace, SamplingParams, StreamPlan
from whispergpt.engine.streams.scheduler import (
    CATCH_UP,
    FEW,
    GRAIN_SECONDS,
    LEAD_FRAMES,
    SAFE_LEAD_SECONDS,
    SHORT_LEAD_SECONDS,
    TOGETHER_SECONDS,
    Scheduler,
    Stream,
)

SAMPLING = SamplingParams(seed=0, temperature=1.0, top_k=0, top_p=1.0)


@dataclass(eq=False)
class Plain:
    """One stream by the rules."""

    plan: StreamPlan
    credit: int | None
    generated: int = 0
    acknowledged: int = 0
    first_frame_at: float | None = None
    held_at: float | None = None
    stepped_at: float = float("-inf")

    def lead(self, now: float) -> float:
        if self.first_frame_at is None:
            return 0.0
        until = now if self.held_at is None else self.held_at
        return (self.generated - self.plan.skipped) / FRAME_RATE - (until - self.first_frame_at)

    def due_in(self, now: float, prompts_wait: bool) -> float:
        behind = self.credit is not None and self.generated - self.acknowledged >= self.credit
        if self.held_at is not None or behind:
            return float("inf")
        if self.plan.pace == "fast":
            return self.stepped_at + 1 / FRAME_RATE - now if prompts_wait else 0.0
        if self.first_frame_at is None:
            return 0.0
        wanted = SAFE_LEAD_SECONDS + (CATCH_UP - 1) * (now - self.first_frame_at)
        full = SHORT_LEAD_SECONDS if prompts_wait else LEAD_FRAMES / FRAME_RATE
        above = self.lead(now) + 1 / FRAME_RATE - min(wanted, full)
        return above if wanted > full else above / CATCH_UP

    def count_frame(self, now: float) -> None:
        if self.first_frame_at is not None:
            self.first_frame_at += max(0.0, -self.lead(now))
        elif self.generated >= self.plan.skipped:
            self.first_frame_at = now
        self.generated += 1
        self.stepped_at = now

    def hold(self, held: bool, now: float) -> None:
        if held and self.held_at is None:
            self.held_at = now
        elif not held and self.held_at is not None:
            if self.first_frame_at is not None:
                self.first_frame_at += now - max(self.held_at, self.first_frame_at)
            self.held_at = None


@dataclass
class PlainScheduler:
    """The rules over lists."""

    slots: int
    by_slot: dict[int, int] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    streams: dict[int, Plain] = field(default_factory=dict)
    most_listened: int = 0
    prompts_wait: bool = False

    def add(self, number: int, stream: Plain) -> None:
        self.streams[number] = stream
        resumed = sum(self.streams[other].plan.resumed for other in self.waiting)
        self.waiting.insert(resumed if stream.plan.resumed else len(self.waiting), number)

    def admit(self) -> list[int]:
        placed = []
        for slot in range(self.slots):
            if slot not in self.by_slot:
                listened = sum(self.streams[n].plan.pace == "realtime" for n in self.by_slot.values())
                for number in self.waiting:
                    plan = self.streams[number].plan
                    if listened < self.most_listened or plan.pace == "fast" or plan.promised:
                        self.waiting.remove(number)
                        self.by_slot[slot] = number
                        placed.append(number)
                        break
        return placed

    def runnable(self, now: float) -> list[int]:
        playing = [self.by_slot[slot] for slot in sorted(self.by_slot)]
        waits = {n: self.streams[n].due_in(now, self.prompts_wait) for n in playing}
        if all(wait > GRAIN_SECONDS for wait in waits.values()):
            return []
        due = [n for n in playing if waits[n] <= TOGETHER_SECONDS]
        listened = [n for n in due if self.streams[n].plan.pace == "realtime"]
        urgent = [n for n in listened if self.streams[n].lead(now) < SAFE_LEAD_SECONDS]
        if not urgent:
            return due
        return urgent if len(urgent) * FEW <= len(playing) else listened

    def end(self, number: int) -> None:
        if number in self.waiting:
            self.waiting.remove(number)
        self.by_slot = {slot: n for slot, n in self.by_slot.items() if n != number}


@pytest.mark.parametrize("seed", range(6))
def test_decisions_are_those_of_the_rules(seed: int) -> None:
    """Random streams come, are held, fall behind their readers, run dry, and go."""
    draw, now = random.Random(seed), [50.0]
    scheduler, plain = Scheduler(12, lambda: now[0]), PlainScheduler(12)
    streams: dict[int, Stream] = {}
    ended: set[int] = set()
    stepped = 0
    for turn in range(2_500):
        scheduler.most_listened = plain.most_listened = (
            draw.choice((6, 9, 12)) if turn % 100 == 0 else plain.most_listened
        )
        scheduler.prompts_wait = plain.prompts_wait = draw.random() < 0.2 if turn % 20 == 0 else plain.prompts_wait
        if draw.random() < 0.05:
            pace = cast(Pace, draw.choice(("realtime", "realtime", "fast")))
            frames = draw.choice((None, 1, 40, 400))
            flags = {"resumed": draw.random() < 0.2, "promised": draw.random() < 0.2}
            plan = StreamPlan(SAMPLING, frames, pace, skipped=draw.choice((0, 0, 30)), **flags)
            number, credit = len(streams), draw.choice((None, 20, 300))
            streams[number] = Stream(number, cast(Prompt, cast(Any, None)), plan, credit)
            scheduler.add(streams[number])
            plain.add(number, Plain(plan, credit))
        live = [number for number in streams if number not in ended]
        if live and draw.random() < 0.3:
            number = draw.choice(live)
            action = draw.random()
            if action < 0.1:
                scheduler.end(streams[number], "cancelled")
                plain.end(number)
                ended.add(number)
            elif action < 0.4:
                held = draw.random() < 0.5
                scheduler.hold(streams[number], held)
                plain.streams[number].hold(held, now[0])
            else:
                taken = draw.randint(0, streams[number].generated)
                scheduler.acknowledge({number: taken, 10_000: 5})
                if number in plain.by_slot.values():
                    plain.streams[number].acknowledged = max(plain.streams[number].acknowledged, taken)
        assert [one.id for one in scheduler.admit()] == plain.admit()
        assert (scheduler.active, scheduler.waiting) == (len(plain.by_slot), len(plain.waiting))
        assert scheduler.listened == sum(plain.streams[n].plan.pace == "realtime" for n in plain.by_slot.values())
        slots = scheduler.due()
        chosen = [one.id for one in scheduler.streams(slots)]
        assert chosen == plain.runnable(now[0])
        now[0] += draw.choice((0.001, 0.005, 0.03)) if draw.random() < 0.99 else 1.5
        completed = scheduler.advance_all(slots)
        for number in chosen:
            plain.streams[number].count_frame(now[0])
            stepped += 1
            if plain.streams[number].generated == plain.streams[number].plan.frames:
                plain.end(number)
                ended.add(number)
                assert streams[number] in completed and streams[number].status == "completed"
        for number, stream in streams.items():
            assert stream.generated == plain.streams[number].generated
            assert stream.lead(now[0]) == pytest.approx(plain.streams[number].lead(now[0]), abs=1e-9)
    assert stepped > 2_000 and len(ended) > 20


def test_one_frame_counts_as_many_do() -> None:
    """A stream that is advanced alone has the very same clock as one that is advanced with others."""
    now, draw = [0.0], random.Random(1)
    alone, together = (Scheduler(3, lambda: now[0]) for _ in range(2))
    pairs = []
    for number, skipped in enumerate((0, 7, 0)):
        plan = StreamPlan(SAMPLING, None, "realtime", skipped=skipped)
        pair = [Stream(number, cast(Prompt, cast(Any, None)), plan, None) for _ in range(2)]
        for scheduler, stream in zip((alone, together), pair, strict=True):
            scheduler.add(stream)
            scheduler.admit()
        pairs.append(pair)
    for _ in range(500):
        now[0] += draw.choice((0.001, 0.02, 0.2))
        slots = together.due()
        together.advance_all(slots)
        for slot in slots.tolist():
            alone.advance(pairs[slot][0])
        assert [one.lead(now[0]) for one, _ in pairs] == [one.lead(now[0]) for _, one in pairs]
