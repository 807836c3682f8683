"""What a decoder may do, tried from inside one."""

from __future__ import annotations

import json
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from whispergpt.engine.audio import confinement

ROOT = Path(__file__).resolve().parents[2]
FILTERED = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
TRIALS = """
import ctypes, json, mmap, os, signal, socket, sys
from pathlib import Path
from whispergpt.engine.audio.confinement import confine
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
    "new code": lambda: mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANON, mmap.PROT_READ | mmap.PROT_EXEC),
    "shared memory": lambda: mmap.mmap(-1, 4096, mmap.MAP_SHARED | mmap.MAP_ANON),
    "memory that grows down": lambda: mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANON | 0x100),
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


def verdict(machine: str, number: int, *arguments: int) -> int:
    """Return what the filter tells the kernel about a system call, by running its program."""
    which, kernels_name = confinement._MACHINES[machine]
    words = struct.pack("<iIQ6Q", number, kernels_name, 0, *arguments, *[0] * (6 - len(arguments)))
    program = confinement._program(which, kernels_name)
    at = loaded = 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        if code == confinement._LOAD:
            (loaded,) = struct.unpack_from("<I", words, value)
        elif code == confinement._EQUAL:
            at += yes if loaded == value else no
        elif code == confinement._ANY_BIT:
            at += yes if loaded & value else no
        elif code == confinement._JUMP:
            at += value
        else:
            return value


@pytest.mark.parametrize(("machine", "mmap", "mprotect"), [("x86_64", 9, 10), ("aarch64", 222, 226)])
def test_the_filter_lets_decoders_have_private_memory_without_code_alone(
    machine: str, mmap: int, mprotect: int
) -> None:
    read_write, execute, private, shared, validated, anonymous, grows_down, stack = 3, 4, 2, 1, 3, 0x20, 0x100, 0x20000
    for flags in (private, private | anonymous, private | anonymous | stack):
        assert verdict(machine, mmap, 0, 4096, read_write, flags) == confinement._ALLOW
        assert verdict(machine, mmap, 0, 4096, read_write | execute, flags) == confinement._REFUSE
    for flags in (shared, validated, private | grows_down):
        assert verdict(machine, mmap, 0, 4096, read_write, flags | anonymous) == confinement._REFUSE
    # mprotect has no fourth argument: what its register holds does not count.
    assert verdict(machine, mprotect, 0, 4096, read_write, shared) == confinement._ALLOW
    assert verdict(machine, mprotect, 0, 4096, execute) == confinement._REFUSE
    which, _ = confinement._MACHINES[machine]
    assert all(verdict(machine, numbers[which]) == confinement._ALLOW for numbers in confinement._CALLS.values())
    assert verdict(machine, 9_999) == confinement._REFUSE


@pytest.mark.skipif(sys.platform != "linux", reason="macOS counts no memory")
def test_memory_and_processor_time_end() -> None:
    head = "import os; from whispergpt.engine.audio.confinement import confine; confine(os.getppid(), 1, 64 * 2**20)\n"
    assert run(head + "while True: pass").returncode == -24, "SIGXCPU"
    assert "MemoryError" in run(head + "bytearray(128 * 2**20)").stderr
    assert run(head + "bytearray(32 * 2**20)").returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="macOS counts no memory")
def test_limits_alone_count_shared_memory_and_stacks_too() -> None:
    head = (
        "import mmap, os; from whispergpt.engine.audio import confinement as c\n"
        "c._filter = lambda: False\n"
        "c.confine(os.getppid(), 1, 64 * 2**20)\n"
        "mmap.mmap(-1, {} * 2**20, {} | mmap.MAP_ANON)\n"
    )
    for flags in ("mmap.MAP_SHARED", "mmap.MAP_PRIVATE | 0x100"):
        assert "Cannot allocate" in run(head.format(256, flags)).stderr
        assert run(head.format(32, flags)).returncode == 0


def test_a_decoder_writes_no_file(tmp_path: Path) -> None:
    head = "import os; from whispergpt.engine.audio.confinement import confine\n"
    head += "fd = os.open({!r}, os.O_CREAT | os.O_WRONLY)\n"
    script = head.format(str(tmp_path / "a")) + "confine(os.getppid(), 1, 2**26)\nos.write(fd, b'secret')"
    assert run(script).returncode != 0
    assert (tmp_path / "a").read_bytes() == b""
