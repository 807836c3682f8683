"""The attacks of ``python -m benchmarks.attacks``, scaled down to seconds."""

from __future__ import annotations

from types import ModuleType

import pytest

from benchmarks.attacks import drain, kill, schedules, stall, vanish
from benchmarks.attacks.__main__ import attack


@pytest.mark.parametrize(
    ("name", "count", "less"),
    [
        ("vanish", 4 * len(vanish.POINTS), [(vanish, "WARM_UP", 4 * len(vanish.POINTS))]),
        ("fuzz", 1_000, []),
        ("stall", 3, [(stall, "SECONDS", 8.0), (stall, "SETTLE_SECONDS", 4.0)]),
        ("kill", 1, [(kill, "LISTENERS", 3), (kill, "BETWEEN_SECONDS", 2.0)]),
        ("drain", 2, [(drain, "SECONDS", 8.0)]),
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
