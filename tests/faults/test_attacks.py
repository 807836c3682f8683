"""The attacks of ``python -m benchmarks.attacks``, scaled down to seconds."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import ModuleType
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from whispergpt_client import AsyncClient

from benchmarks.attacks import drain, ear, kill, schedules, stall, vanish
from benchmarks.attacks.__main__ import attack
from engine.config import HOP


@pytest.mark.parametrize(
    ("name", "count", "less"),
    [
        ("vanish", 4 * len(vanish.POINTS), [(vanish, "WARM_UP", 4 * len(vanish.POINTS))]),
        ("fuzz", 1_000, []),
        ("stall", 3, [(stall, "SECONDS", 8.0), (stall, "SETTLE_SECONDS", 4.0)]),
        ("kill", 1, [(kill, "LISTENERS", 3), (kill, "SECONDS", 7.0), (kill, "BEFORE_SECONDS", 2.0)]),
        ("drain", 3, [(drain, "SECONDS", 8.0)]),
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
