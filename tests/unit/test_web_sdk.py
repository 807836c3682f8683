"""The browser's code: its own tests, and what the server sends is what its sources make."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.tools import require_tool

ROOT = Path(__file__).parents[2]
WEB = ROOT / "clients" / "web"
SENT = ROOT / "server" / "static" / "sdk"


def test_the_sdk_holds_and_is_built(tmp_path: Path) -> None:
    require_tool("node")
    npm = require_tool("npm")
    copy = tmp_path / "clients" / "web"
    shutil.copytree(WEB, copy, ignore=shutil.ignore_patterns("node_modules", "build"))
    for command in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["test"]):
        done = subprocess.run([npm, *command], cwd=copy, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    built = tmp_path / "server" / "static" / "sdk"
    files = {path.relative_to(built): path.read_text() for path in built.rglob("*.js")}
    sent = {path.relative_to(SENT): path.read_text() for path in SENT.rglob("*.js")}
    assert files == sent, "run `make web`"
    package = copy / "node_modules" / "swagger-ui-dist"
    for path in (SENT.parent / "docs").glob("*"):
        if (package / path.name).exists():
            assert path.read_bytes() == (package / path.name).read_bytes(), f"run `make web`: {path.name}"
