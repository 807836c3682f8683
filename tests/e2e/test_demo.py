"""The demonstration, as ``make demo`` runs it; ``test_wheel.py`` has it from beginning to end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


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
