"""What a decoder may do, tried from inside one."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILTERED = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
TRIALS = """
import ctypes, json, mmap, os, signal, socket, sys
from pathlib import Path
from engine.audio.confinement import confine
libc = ctypes.CDLL(None, use_errno=True)
pair = socket.socketpair()
parent = os.getppid()
sys.stdout.flush()
os.set_inheritable(1, True)

def refused(work):
    try:
        got = work()
    except (OSError, MemoryError, ValueError) as error:
        return f"{type(error).__name__} {getattr(error, 'errno', '')}"
    return "" if got != -1 else f"OSError {ctypes.get_errno()}"

filtered = confine(parent, 5, 64 * 2**20)
trials = {
    "open": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "stat": lambda: os.stat("/etc/passwd"),
    "list": lambda: os.listdir("/"),
    "socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", 9)),
    "pipe": lambda: os.pipe(),
    "dup": lambda: os.dup(1),
    "fork": lambda: os.fork() or os._exit(0),
    "execute": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(parent, 0),
    "read another's memory": lambda: libc.ptrace(16, parent, 0, 0),
    "raise a limit": lambda: __import__("resource").setrlimit(7, (64, 64)),
    "new code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "memory": lambda: len(bytearray(256 * 2**20)),
}
print(json.dumps([filtered, {name: refused(work) for name, work in trials.items()}]))
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)


@pytest.mark.skipif(not FILTERED, reason="Linux on x86-64 or 64-bit ARM alone filters system calls")
def test_a_decoder_can_open_reach_start_and_take_nothing() -> None:
    done = run(TRIALS)
    assert done.returncode == 0, done.stderr
    filtered, tried = json.loads(done.stdout)
    assert filtered
    assert [name for name, error in tried.items() if not error] == []


@pytest.mark.skipif(sys.platform != "linux", reason="macOS counts no memory")
def test_memory_and_processor_time_end() -> None:
    head = "import os; from engine.audio.confinement import confine; confine(os.getppid(), 1, 64 * 2**20)\n"
    assert run(head + "while True: pass").returncode == -24, "SIGXCPU"
    assert "MemoryError" in run(head + "bytearray(128 * 2**20)").stderr
    assert run(head + "bytearray(32 * 2**20)").returncode == 0


def test_a_decoder_writes_no_file(tmp_path: Path) -> None:
    head = "import os; from engine.audio.confinement import confine; fd = os.open({!r}, os.O_CREAT | os.O_WRONLY)\n"
    script = head.format(str(tmp_path / "a")) + "confine(os.getppid(), 1, 2**26)\nos.write(fd, b'secret')"
    assert run(script).returncode != 0
    assert (tmp_path / "a").read_bytes() == b""
