"""How long an engine that dies again and again is waited for."""

from __future__ import annotations

from whispergpt.server.link.supervisor import pause_after


def test_pauses_double_up_to_the_longest() -> None:
    assert [pause_after(crashes, 0.5, 8.0) for crashes in (1, 2, 3, 5, 6)] == [0.5, 1.0, 2.0, 8.0, 8.0]
    assert pause_after(5_000, 0.5, 8.0) == 8.0, "after a night without a model folder"
