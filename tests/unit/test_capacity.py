"""How many real-time streams there is time for."""

from __future__ import annotations

import time

import pytest

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.engine import Engine
from whispergpt.engine.streams.capacity import Capacity, StepCost
from whispergpt.engine.streams.step_report import StepReport

FRAME = 1 / FRAME_RATE


def cost() -> StepCost:
    """Half a millisecond for each stream behind two that a step takes anyway."""
    return StepCost([1, 4, 16], [0.0025, 0.004, 0.010])


def test_all_that_fit_into_a_frame_may_play() -> None:
    capacity = Capacity({"a": cost()}, max_load=0.75)  # 10 ms
    assert capacity.most("a", {"a": 3}, slots=64) == 16
    assert capacity.most("a", {"a": 16}, slots=8) == 8
    assert Capacity({"a": cost()}, max_load=1.0).most("a", {}, slots=64) == 22, "the last stretch goes on"


def test_others_take_their_share() -> None:
    capacity = Capacity({"a": cost(), "b": cost()}, max_load=0.75)
    assert capacity.most("a", {"a": 2, "b": 4}, slots=64) == 8
    assert capacity.most("a", {"a": 0, "b": 16}, slots=64) == 0
    assert capacity.most("b", {"a": 0, "b": 16}, slots=64) == 16


def test_a_slow_machine_still_plays_one_and_slots_alone_may_decide() -> None:
    slow = {"a": StepCost([1], [0.1])}
    assert Capacity(slow, max_load=0.75).most("a", {"a": 0}, slots=64) == 1
    assert Capacity(slow, max_load=0).most("a", {"a": 0}, slots=64) == 64


def test_the_limit_follows_what_steps_take() -> None:
    capacity = Capacity({"a": cost()}, max_load=0.75)
    for _ in range(4 * FRAME_RATE):
        capacity.observe("a", 4, 0.008)  # prompts are encoded: twice what it was
    assert 6 <= capacity.most("a", {"a": 4}, slots=64) < 12, "within seconds"
    for _ in range(20 * FRAME_RATE):
        capacity.observe("a", 4, 0.008)
    assert capacity.most("a", {"a": 4}, slots=64) == pytest.approx(6, abs=1)
    for _ in range(2 * FRAME_RATE):
        capacity.observe("a", 4, 0.004)
    assert capacity.most("a", {"a": 4}, slots=64) < 12, "a quiet moment is none to count on"
    for _ in range(20 * FRAME_RATE):
        capacity.observe("a", 4, 0.004)
    assert capacity.most("a", {"a": 4}, slots=64) == pytest.approx(16, abs=1)


def test_interrupted_steps_of_one_say_little_of_those_of_many() -> None:
    capacity = Capacity({"a": StepCost([1, 32], [0.0005, 0.005])}, max_load=0.75)
    for _ in range(20 * FRAME_RATE):
        capacity.observe("a", 32, 0.005)
        capacity.observe("a", 1, 0.0025)
    assert capacity.most("a", {"a": 32}, slots=64) == pytest.approx(47, abs=2), "7.5 ms in all where 5.5 were right"


def test_a_model_that_nobody_may_play_is_judged_by_the_steps_of_others() -> None:
    capacity = Capacity({"a": cost(), "b": cost()}, max_load=0.75)
    for _ in range(10 * FRAME_RATE):
        capacity.observe("b", 4, 0.040)
    assert capacity.most("a", {"a": 0, "b": 1}, slots=64) == 0
    for _ in range(40 * FRAME_RATE):
        capacity.observe("b", 4, 0.004)
    assert capacity.most("a", {"a": 0, "b": 4}, slots=64) == pytest.approx(8, abs=1)


def test_one_hiccup_is_soon_forgotten() -> None:
    capacity = Capacity({"a": cost()}, max_load=0.75)
    capacity.observe("a", 4, 60.0)
    assert capacity.most("a", {"a": 4}, slots=64) >= 10


def test_an_engine_measures_its_steps() -> None:
    engine = Engine.load("speech", "cpu", max_streams=6)
    measured = engine.step_cost()
    assert measured.streams == sorted(set(measured.streams)) and set(measured.streams) <= {1, 4, 6}
    assert measured.streams[-1] == 6 or measured.seconds[-1] > 0.5 * FRAME
    assert all(before <= after for before, after in zip(measured.seconds, measured.seconds[1:], strict=False))
    assert 1e-5 < measured.of(1) < 10
    assert engine.scheduler.active == 0, "its streams are gone"
    sent: list[int] = []

    def report(made: StepReport) -> None:
        sent.append(len(made.frames))
        time.sleep(2 * measured.of(1))

    assert engine.step_cost(report).of(1) > 2 * measured.of(1), "what the message takes counts"
    assert {1} <= set(sent) <= {1, 4, 6}
