"""Who is stepped when: slots, order, pace, credit, and leaving."""

from __future__ import annotations

from typing import Any, cast

import pytest

from engine.messages import Pace, SamplingParams
from engine.prompt import Prompt
from engine.scheduler import LEAD_FRAMES, Scheduler, Stream

SAMPLING = SamplingParams(seed=0, temperature=1.0, top_k=0, top_p=1.0)


class Clock:
    """Seconds that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def stream(number: int, frames: int | None = 10, pace: Pace = "fast", credit: int | None = None) -> Stream:
    # The scheduler never looks into a prompt.
    return Stream(number, cast(Prompt, cast(Any, None)), SAMPLING, frames, pace, credit)


def play(scheduler: Scheduler) -> list[int]:
    """One turn: admit, and advance whoever may run."""
    scheduler.admit()
    runnable = scheduler.runnable()
    for one in runnable:
        scheduler.advance(one)
    return [one.id for one in runnable]


def test_slots_are_filled_in_order_and_reused(clock: Clock) -> None:
    scheduler = Scheduler(2, clock)
    first, second, third = stream(1, 2), stream(2, 5), stream(3, 5)
    for one in (first, second, third):
        scheduler.add(one)
    assert play(scheduler) == [1, 2]
    assert (scheduler.active, scheduler.waiting) == (2, 1)
    assert play(scheduler) == [1, 2]
    assert first.status == "completed"
    assert play(scheduler) == [3, 2]
    assert third.slot == first.slot


def test_cancelled_stream_frees_its_slot_at_once(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    playing, waiting, gone = stream(1, None), stream(2), stream(3)
    for one in (playing, gone, waiting):
        scheduler.add(one)
    play(scheduler)
    scheduler.end(gone, "cancelled")
    scheduler.end(playing, "cancelled")
    assert scheduler.active == 0
    assert play(scheduler) == [2]
    scheduler.end(playing, "failed")
    assert playing.status == "cancelled"


def test_real_time_is_two_seconds_ahead_and_no_more(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    one = stream(1, None, "realtime")
    scheduler.add(one)
    for _ in range(500):
        play(scheduler)
    assert one.generated == LEAD_FRAMES
    assert 0 < (scheduler.next_due() or 0) <= 1 / 75 + 1e-9
    clock.now += 1.0
    for _ in range(500):
        play(scheduler)
    assert one.generated == LEAD_FRAMES + 75


def test_fast_is_not_paced(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    one = stream(1, 1000)
    scheduler.add(one)
    for _ in range(1000):
        play(scheduler)
    assert one.status == "completed"


def test_credit_holds_a_stream_until_its_reader_has_taken_frames(clock: Clock) -> None:
    scheduler = Scheduler(1, clock)
    one = stream(1, None, credit=20)
    scheduler.add(one)
    for _ in range(50):
        play(scheduler)
    assert one.generated == 20
    assert scheduler.next_due() is None
    one.acknowledged = 5
    assert scheduler.next_due() == 0
    for _ in range(50):
        play(scheduler)
    assert one.generated == 25


def test_held_stream_does_not_hold_others(clock: Clock) -> None:
    scheduler = Scheduler(2, clock)
    scheduler.add(stream(1, None, credit=3))
    scheduler.add(stream(2, None))
    turns = [play(scheduler) for _ in range(6)]
    assert turns == [[1, 2]] * 3 + [[2]] * 3
