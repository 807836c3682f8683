"""The demonstration, as ``make demo`` runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import soundfile

from tests.support.audio import HOP, SAMPLE_RATE

ROOT = Path(__file__).resolve().parents[2]


def test_demo_writes_what_it_says(tmp_path: Path) -> None:
    audio, picture = tmp_path / "demo.wav", tmp_path / "demo.png"
    demo = subprocess.run(
        [sys.executable, "-m", "whispergpt.cli.demo", "--seconds", "1", "--output", audio, "--picture", picture],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert demo.returncode == 0, demo.stderr
    assert "time to first audio" in demo.stdout
    assert "real-time factor" in demo.stdout
    info = soundfile.info(audio)
    assert (info.samplerate, info.channels, info.frames) == (SAMPLE_RATE, 1, (4 * 75 + 75) * HOP)
    told = subprocess.run(
        [sys.executable, "-m", "whispergpt.cli.main", "verify", audio, "--prompt", ROOT / "examples" / "prompt.flac"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_demo_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "whispergpt.cli.demo", "--model", "no-such-model", "--output", tmp_path / "demo.wav"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert demo.returncode == 1
    assert "no-such-model" in demo.stderr
    assert demo.stderr.splitlines()[-1].startswith("whispergpt demo: ")
    assert "Traceback" not in demo.stderr
