"""The tests that need a GPU."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from whispergpt.benchmarks.attacks.tools.server_process import ROOT
from whispergpt.benchmarks.gpu.options import Options, Tell

TESTS = "tests/parity/test_gpu.py"


def run(options: Options, tell: Tell) -> None:
    """Run them, and count how they ended; they need nothing of the other tests' fixtures and options."""
    import pytest  # noqa: F401 - named if it is missing

    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        own = ["--noconftest", "-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider"]
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *own, f"--junitxml={report}", TESTS]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not report.exists():
            raise RuntimeError((ended.stdout + ended.stderr).strip().splitlines()[-1])
        suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    reasons = [str(found.get("message"))[:500] for kind in ("failure", "error") for found in suite.iter(kind)]
    tell({**counts, "reasons": reasons})
