"""The benchmark of the host's time: every stream is stepped in every turn, and every part of it takes time."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from whispergpt.benchmarks.host_step import main, measure


def test_every_part_is_measured() -> None:
    found = asdict(measure(5, snapshots=True, turns=3, limited=True))
    assert (found.pop("streams"), found.pop("snapshots"), found.pop("limited")) == (5, True, True)
    assert all(0 < milliseconds < 1e4 for milliseconds in found.values()) and len(found) == 4


def test_no_streams_are_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["host_step", "--streams", "0"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "at least 1" in capsys.readouterr().err
