"""The synchronous client is what the generator makes of the asynchronous one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _check(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "clients/python/generate_sync.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_synchronous_modules_are_what_the_generator_writes() -> None:
    checked = _check(ROOT)
    assert checked.returncode == 0, checked.stderr


def test_a_module_that_differs_is_named(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)  # ruff's settings
    shutil.copytree(ROOT / "clients/python", tmp_path / "clients/python")
    source = tmp_path / "clients/python/whispergpt_client/async_stream.py"
    source.write_text(source.read_text().replace("def pause", "def halt"))
    before = source.with_name("stream.py").read_text()
    checked = _check(tmp_path)
    assert checked.returncode == 1
    assert checked.stderr == "Run clients/python/generate_sync.py: stream.py would change.\n"
    assert source.with_name("stream.py").read_text() == before
