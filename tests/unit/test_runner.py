"""How tests are run: each process has caches of its own, and no crash, hang or leftover keeps a run from its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from tests.support.within import LIMIT_STATUS
from tests.support.workers import NUMBA_CACHE

ROOT = Path(__file__).parents[2]
WITHIN = ROOT / "tests" / "support" / "within.py"
END_SECONDS = 120
"""Time that a small run takes at most on a busy machine."""
CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
ON_A_WORKER = "import os\nif os.environ.get('PYTEST_XDIST_WORKER') == 'gw0':\n    "
Shared = Callable[..., subprocess.CompletedProcess[str]]
CI = Callable[..., tuple[subprocess.CompletedProcess[str], dict[str, str]]]


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    """Return a function that writes files and has two workers run them, by this repository's configuration."""

    def shared(files: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        for name in "bcde":
            (tmp_path / f"test_{name}.py").write_text("def test_one(): pass\ndef test_two(): pass\n")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={tmp_path}"]
        command += ["-p", "tests.support.workers", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile"]
        return subprocess.run(
            [*command, "--no-loadscope-reorder", *options, str(tmp_path)],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
        )

    return shared


def test_this_process_has_a_numba_cache_of_its_own() -> None:
    folder = Path(os.environ[NUMBA_CACHE])
    assert folder.name == os.environ.get("PYTEST_XDIST_WORKER", folder.name)
    assert Path(sys.prefix) not in folder.parents, "not beside the packages, where every run would use it"
    program = "from numba import config; print(config.CACHE_DIR)"
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert seen.stdout.strip() == str(folder), "subprocesses use that of their test"


def test_no_two_workers_share_a_numba_cache_and_none_is_left(shared: Shared, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    note = f"pathlib.Path({str(seen)!r}, str(os.getpid())).write_text(os.environ['{NUMBA_CACHE}'])"
    done = shared({"test_a.py": f"import os, pathlib\n{note}\ndef test_one(): pass\n"})
    assert done.returncode == 0, done.stdout
    folders = [Path(path.read_text()) for path in seen.iterdir()]
    assert sorted(folder.name for folder in folders) == ["gw0", "gw1"]
    assert not any(folder.parent.exists() for folder in folders)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("test_a.py", f"def test_one(): pass\ndef test_two():\n    {CRASH}\ndef test_three(): pass\n"),
        ("test_a.py", f"{ON_A_WORKER}{CRASH}\n"),
        ("conftest.py", f"def pytest_sessionfinish():\n    {ON_A_WORKER.replace(chr(10), chr(10) + '    ')}{CRASH}\n"),
    ],
    ids=["in a test", "in a module", "after the last test"],
)
def test_a_crashed_worker_fails_the_run_and_ends_it(name: str, text: str, shared: Shared) -> None:
    done = shared({name: text})
    assert done.returncode not in (0, -signal.SIGSEGV), done.stdout
    assert "node down" in done.stdout


@pytest.mark.parametrize(
    ("prepare", "told"),
    [("pass", "Timeout"), ("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})", "crashed while running")],
    ids=["signal", "no signal arrives"],
)
def test_a_test_that_hangs_fails(prepare: str, told: str, shared: Shared) -> None:
    hang = f"import signal, time\ndef test_one():\n    {prepare}\n    time.sleep(1000)\n"
    done = shared({"test_a.py": hang}, "-o", "timeout=2", "-o", "faulthandler_timeout=4")
    assert done.returncode == 1 and told in done.stdout, done.stdout


def within(minutes: float, program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(WITHIN), str(minutes), sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=END_SECONDS)


def test_a_limited_command_ends_with_its_own_status() -> None:
    assert within(1, "raise SystemExit(3)").returncode == 3
    assert within(1, CRASH).returncode == 128 + signal.SIGSEGV


def test_a_limited_command_is_interrupted_and_its_leftovers_are_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    leave = (
        "import pathlib, subprocess, sys, time\n"
        "sleeper = 'import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); '\n"
        "sleeper += 'print(1, flush=True); time.sleep(1000)'\n"
        "left = subprocess.Popen([sys.executable, '-c', sleeper], stdout=subprocess.PIPE)\n"
        "left.stdout.readline()\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(left.pid))\n"
    )
    done = within(1, leave)
    assert done.returncode == 0, done.stderr
    assert_ends(int(pid.read_text()))

    pid.unlink()
    done = within(0.1, leave + "try:\n    time.sleep(1000)\nexcept KeyboardInterrupt:\n    print('told')\n")
    assert done.returncode == LIMIT_STATUS and done.stdout == "told\n"
    assert "it took more than 0.1 minutes" in done.stderr
    assert_ends(int(pid.read_text()))


def test_sigterm_ends_a_limited_command(tmp_path: Path) -> None:
    started = tmp_path / "started"
    program = f"import os, pathlib, time; pathlib.Path({str(started)!r}).write_text(str(os.getpid())); time.sleep(1000)"
    limited = subprocess.Popen(
        [sys.executable, str(WITHIN), "5", sys.executable, "-c", program], stderr=subprocess.PIPE
    )
    wait_until(lambda: started.exists() and bool(started.read_text()), "the command runs")
    limited.terminate()
    limited.communicate(timeout=END_SECONDS)
    assert limited.returncode == 128 + signal.SIGTERM
    assert_ends(int(started.read_text()))


def assert_ends(pid: int) -> None:
    """Wait until the process has ended; where nobody reaps it, a zombie may be left."""
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), f"process {pid} ends")


@pytest.fixture
def ci(tmp_path: Path) -> CI:
    """Return a function that runs ``.ci/run`` with a ``make`` that notes its environment, and returns what it saw."""
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config" / "pip" / "pip.conf").write_text("[global]\n")
    (home / ".npmrc").write_text("fund=false\n")
    (home / ".cache").mkdir()
    seen = tmp_path / "environment"

    def ci(make: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
        for name, text in {
            "make": f"env -0 > {seen}; ls -A $HOME $HOME/.config > {seen}.home; {make}",
            "apt-get": "",
        }.items():
            (programs / name).write_text(f"#!/bin/sh\n{text}\n")
            (programs / name).chmod(0o700)
        ours = ("XDG_CONFIG_HOME", "CI_SECONDS", "CI_SCRATCH")
        around = {name: value for name, value in os.environ.items() if name not in ours}
        done = subprocess.run(
            [ROOT / ".ci" / "run"],
            env={**around, "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(home), **environment},
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
        )
        found = dict(line.split("=", 1) for line in seen.read_text().split("\0") if line)
        return done, found

    return ci


def test_ci_has_a_home_and_caches_of_its_own(tmp_path: Path, ci: CI) -> None:
    caches = ("XDG_CACHE_HOME", "WHISPERGPT_CACHE", NUMBA_CACHE, "PIP_CACHE_DIR", "MPLCONFIGDIR", "TORCH_HOME")
    done, seen = ci('test -w "$TMPDIR"', PYTHON=sys.executable, **{name: str(tmp_path) for name in caches})
    assert done.returncode == 0, done.stderr
    assert not seen.keys() & set(caches)
    home, temporary = Path(seen["HOME"]), Path(seen["TMPDIR"])
    assert home.parent == temporary.parent and len(str(temporary)) < 20
    assert not home.parent.exists(), "all of it is removed"
    names = set((tmp_path / "environment.home").read_text().split())
    assert {".npmrc", "pip"} <= names and ".cache" not in names, "the configuration alone is carried over"
    assert (tmp_path / "home" / ".npmrc").read_text() == "fund=false\n", "and stays in the user's home"


def test_ci_stops_at_the_first_failure(
    ci: CI,
) -> None:
    done, seen = ci("echo $1; exit 2", PYTHON=sys.executable)
    assert done.returncode == 2 and done.stdout == "lint\n"
    assert not Path(seen["HOME"]).parent.exists()


def test_ci_has_a_limit(ci: CI) -> None:
    begun = time.monotonic()
    done, seen = ci("exec sleep 1000", PYTHON=sys.executable, CI_SECONDS="6")
    assert done.returncode == LIMIT_STATUS and "'make lint' was ended" in done.stderr
    assert time.monotonic() - begun < END_SECONDS
    assert not Path(seen["HOME"]).parent.exists()
