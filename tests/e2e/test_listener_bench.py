"""The measurement of a listener's cost runs a real server with the engine that replays."""

from __future__ import annotations

import pytest

from whispergpt.benchmarks.listeners.measure import Options, measure


@pytest.mark.alone(reason="listeners stay for two seconds beyond the measured one, and a busy machine needs more")
def test_paced_listeners_are_measured() -> None:
    found = measure(Options(listeners=6, output="opus", workers=2, seconds=0.5, settle=0.25, slack=2.0))
    assert found["outcomes"] == {"arrived": 6, "completed": 6}
    assert found["messages_per_listener_second"] == pytest.approx(6.25, abs=1.5)
    assert 5 < found["kilobytes_per_listener_second"] < 9
    assert found["us_per_listener_second"] == pytest.approx(1e6 / found["listeners_per_core"])
    assert found["us_per_listener_second"] > 100 and found["front_ends"] == 2
