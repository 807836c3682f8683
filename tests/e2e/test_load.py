"""``whispergpt load`` against a real server: listeners hear, leave, and are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.metrics import wait_for_idle
from whispergpt.benchmarks.attacks.tools.server_process import ROOT, ServerProcess
from whispergpt.cli.main import main


def load(url: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "whispergpt.cli.main", "load", url, "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_crowd_is_heard_out(server: str, tmp_path: Path) -> None:
    page = tmp_path / "load.html"
    report = load(
        server,
        *("--streams", "4", "--duration", "7", "--seconds", "4:6", "--prompt-seconds", "0.6:1.5", "--leave", "0.5"),
        *("--live", "0.5", "--slow", "0.2", "--seed", "10", "--page", str(page)),
    )
    counts, listeners = report["heard"]["listeners"], report["listeners"]
    assert counts["arrived"] == report["plan"]["listeners"] == len(listeners) == 8
    assert set(counts) == {"arrived", "completed", "left"}  # the seed's are of every kind
    assert any(one["live"] for one in listeners) and any(not one["live"] for one in listeners)
    for one in listeners:
        if one["outcome"] == "completed":
            assert one["audio_seconds"] == pytest.approx(one["asked_for_seconds"], abs=1 / 75)
            assert 0 < one["said_first_audio_ms"] <= one["time_to_first_audio_ms"] + 1
    assert report["heard"]["audio_seconds"] == pytest.approx(sum(one["audio_seconds"] for one in listeners))
    text = page.read_text()
    assert text.count("<svg") == 1 and f"{counts['arrived']} arrived" in text and "src=" not in text
    wait_for_idle(server)


def test_processes_share_a_plan_and_a_clock(server: str) -> None:
    arguments = ("--streams", "5", "--stay", "--duration", "2", "--live", "0", "--processes", "2")
    report = load(server, *arguments)
    heard, listeners = report["heard"], report["listeners"]
    assert heard["listeners"] == {"arrived": 5, "completed": 5} and report["plan"]["processes"] == 2
    assert len({one["seed"] for one in listeners}) == 5
    came = [one["came"] for one in listeners]
    assert came == sorted(came) and came[0] >= 0 and came[-1] >= 0.4
    first_audio, playable = heard["time_to_first_audio_ms"], heard["first_playable_ms"]
    assert 0 < first_audio["p50"] <= first_audio["p95"] <= first_audio["p99"]
    assert all(one["first_playable_ms"] >= one["time_to_first_audio_ms"] for one in listeners)
    assert playable["p50"] >= first_audio["p50"]
    continuous = sum(one["largest_gap_ms"] <= 50 for one in listeners)
    assert heard["c50"] == continuous / 5
    wait_for_idle(server)


def test_a_run_to_which_nobody_comes_is_one_sentence(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["load", server, "--streams", "0.01", "--duration", "1"])
    told = "whispergpt load: No listener came; give a longer --duration or more --streams.\n"
    assert (ended.value.code, *capsys.readouterr()) == (1, "", told)


def test_refusals_are_counted_with_the_servers_words() -> None:
    with ServerProcess("--max-streams", "1", environment={"WHISPERGPT_MAX_WAITING": "0"}) as process:
        report = load(process.url, "--streams", "4", "--stay", "--duration", "3", "--live", "0")
        process.terminate()
        assert process.wait() == 0
    heard = report["heard"]
    counts = heard["listeners"]
    assert set(counts) == {"arrived", "completed", "refused"} and counts["completed"] + counts["refused"] == 4
    assert heard["refused_after_ms"]["p50"] > 0
    assert all("taken" in reason for reason in heard["reasons"])
