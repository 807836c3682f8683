"""The attacks of ``python -m whispergpt.benchmarks.attacks``, scaled down to seconds."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from types import ModuleType
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from whispergpt_client import AsyncClient

from whispergpt.benchmarks.attacks import drain, hold, kill, schedules, stall, vanish
from whispergpt.benchmarks.attacks.__main__ import ATTACKS, attack
from whispergpt.benchmarks.attacks.tools import ear, visitors
from whispergpt.benchmarks.attacks.tools.visitors import Visitors
from whispergpt.engine.config import HOP
from whispergpt.load.percentiles import Percentiles
from whispergpt.load.plan import Mix, Span
from whispergpt.load.record import Summary


@pytest.mark.parametrize(
    ("name", "count", "less"),
    [
        ("vanish", 4 * len(vanish.POINTS), [(vanish, "WARM_UP", 4 * len(vanish.POINTS))]),
        ("fuzz", 1_000, []),
        # Alone: a busy machine, too, lets a listener's buffer of 50 ms run empty.
        pytest.param("stall", 3, [(stall, "SECONDS", 8.0), (stall, "SETTLE_SECONDS", 4.0)], marks=pytest.mark.alone),
        ("kill", 1, [(kill, "LISTENERS", 3), (kill, "SECONDS", 7.0), (kill, "BEFORE_SECONDS", 2.0)]),
        # Alone: the server must end in time.
        pytest.param("drain", 3, [(drain, "SECONDS", 8.0)], marks=pytest.mark.alone),
        ("schedules", 2, [(schedules, "STREAMS", 8)]),
    ],
)
def test_what_must_hold_holds(
    name: str, count: int, less: list[tuple[ModuleType, str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, constant, value in less:
        monkeypatch.setattr(module, constant, value)
    measured = attack(name, count)
    assert measured["held"], measured


@pytest.mark.alone  # the attackers have the lowest priority, and on a busy machine no time
def test_one_key_that_holds_all_it_can_get_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory, and in what it keeps of others: how fast a machine is, is not a test's business."""
    monkeypatch.setattr(hold, "MINUTE_SECONDS", 12.0)
    monkeypatch.setattr(hold, "QUIET_MINUTES", 0.25)
    measured = attack("hold", 1)
    assert measured["bounded"] and not measured["left"], measured
    assert measured["hog"]["fill_inbox: MiB"] and measured["hog"]["leave_uncommitted: MiB"], measured
    assert measured["most_upload_mb"] > 1 and isinstance(measured["held"], bool), measured


@pytest.mark.parametrize(("name", "streams"), [("steady", 4), ("overload", 2)])
def test_a_few_seconds_of_visitors(name: str, streams: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check how few streams are shared out; how fast a machine is, is not a test's business.

    Of a steady load, enough listeners find a place even where a busy machine keeps each place for longer.
    """
    monkeypatch.setattr(visitors, "MINUTE_SECONDS", 5.0)
    monkeypatch.setattr(visitors, "WARM_SECONDS", 2.0)
    monkeypatch.setattr(visitors, "MIX", Mix(Span(2, 3), Span(0.5, 1)))
    small = ATTACKS[name].settings | {"WHISPERGPT_MAX_STREAMS": str(streams)}
    monkeypatch.setitem(ATTACKS, name, replace(ATTACKS[name], settings=small))
    measured = attack(name, 1)
    heard = measured["heard"]
    outcomes = dict(heard["listeners"])
    assert 1 <= measured["limit"] <= streams and outcomes["completed"] > 2, measured
    assert outcomes.pop("arrived") == sum(outcomes.values()) and "failed" not in outcomes, measured
    assert measured["left"] == 0 and isinstance(measured["held"], bool), measured
    if name == "overload":
        assert outcomes["refused"] and all("try again in" in reason for reason in heard["reasons"]), measured


def test_what_visitors_must_have_heard() -> None:
    minutes = [{"frame_ms": 1.0 + 0.1 * minute, "resident_mb": 500.0 + minute} for minute in range(6)]
    percentiles = Percentiles(50.0, 80.0, 90.0)
    summary = Summary({"arrived": 9, "completed": 9}, 0, 4, percentiles, percentiles, None, 1.0, 0, 0, 0.0, 90.0, {})
    good = Visitors(4.0, 3.2, minutes, summary, 0, percentiles)
    assert good.whole and good.slower == pytest.approx(1.45 / 1.05 - 1) and good.grown_mb == 4.0
    for bad in (
        replace(good, left=1),
        replace(good, summary=replace(summary, underruns=1)),
        replace(good, summary=replace(summary, listeners={"arrived": 9, "failed": 1})),
        replace(good, minutes=[minute | {"resident_mb": 60.0 * at} for at, minute in enumerate(minutes)]),
    ):
        assert not bad.whole


@pytest.mark.parametrize(
    ("frames", "seam"), [(0, "in its place"), (1, "elsewhere"), (-1, "elsewhere"), (-40, "elsewhere")]
)
def test_a_seam_that_is_off_is_found(frames: int, seam: ear.Seam) -> None:
    """Frames lost or doubled there would go unnoticed by one who only counts."""
    unbroken = np.random.default_rng(0).normal(0, 3000, 150 * HOP).astype("<i2")
    at = 90 * HOP
    asyncio.run(heard_with(unbroken, at, at + frames * HOP, seam))


async def heard_with(unbroken: npt.NDArray[np.int16], at: int, on: int, seam: ear.Seam) -> None:
    """A stream heard up to a sample, and gone on with from another."""
    listener = ear.Ear(cast(AsyncClient, None), seconds=2.0, seed=0)
    listener._heard += unbroken[:at].tobytes() + unbroken[on : on + len(unbroken) - at].tobytes()
    listener._seam_at = at
    listener.resumed.set()
    found = listener.seam(unbroken.tobytes())
    assert found == seam
    assert ear.in_place(Counter([found])) == (seam == "in its place")
