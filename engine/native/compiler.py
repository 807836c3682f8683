"""The C++ compiler in a process that cleans up: unfinished files are removed even when the parent is killed.

``Compilation`` starts this module as a process of its own. That process runs the compiler in a session of its own and
reads a pipe from the parent. When the pipe closes, since the parent is done or dead, it ends the compiler and removes
the folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from types import TracebackType

BUILD_SECONDS = 300
_PREFIX = "whispergpt-building-"


class Ending(IntEnum):
    """Exit statuses of this module when there is no library."""

    FAILED = 3
    TIMED_OUT = 4
    NO_ROOM = 5


class CompilerError(Exception):
    """A failure of the compiler; the message has its first error."""


class CompilerTimeout(CompilerError):
    """A compilation that took longer than ``BUILD_SECONDS``."""


class Compilation:
    """One run of the compiler, as a context: it gives the library's path, in a folder that is removed at its end.

    Args:
        command: the compiler and its arguments except the output.
        folder: folder in which this build's folder is made.
        shared: whether to remove first the folders there that ended builds left behind.

    Entering raises ``CompilerError`` if the compiler fails or takes too long, and ``OSError`` if the folder cannot be
    written.
    """

    def __init__(self, command: list[str], folder: Path, shared: bool) -> None:
        reader, self._held = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", __file__, str(folder), str(int(shared)), *command],
                stdin=reader,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except BaseException:
            os.close(self._held)
            raise
        finally:
            os.close(reader)

    def __enter__(self) -> Path:
        assert self._process.stdout is not None and self._process.stderr is not None
        try:
            if made := self._process.stdout.readline():
                return Path(made.removesuffix("\n"))
            told = self._process.stderr.read().strip()
        except BaseException:
            self._close()
            raise
        self._close()
        match self._process.returncode:
            case Ending.TIMED_OUT:
                raise CompilerTimeout(f"the C++ compiler took more than {BUILD_SECONDS} s")
            case Ending.NO_ROOM:
                raise OSError(told)
            case _:
                raise CompilerError(f"the C++ compiler failed: {told or 'without a message'}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        """Have the process remove its folder and end."""
        os.close(self._held)
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def main() -> int:
    """Build, print the path, and keep it until standard input ends."""
    _, folder, shared, *command = sys.argv
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(Ending.FAILED))
    done = threading.Event()
    with contextlib.ExitStack() as stack:
        try:
            if shared == "1":
                stack.enter_context(_only_live_builds(Path(folder)))
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder)))
        except OSError as error:
            sys.stderr.write(f"{folder}: {error.strerror}")
            return Ending.NO_ROOM
        made = scratch / "library.so"
        process = subprocess.Popen(
            [*command, "-o", str(made)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "TMPDIR": str(scratch)},  # for the compiler's own temporary files
            process_group=0,
        )
        stack.callback(process.wait)
        stack.callback(_end, process)
        threading.Thread(target=_wait_for_parent, args=(process, done), daemon=True).start()
        try:
            _, told = process.communicate(timeout=BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            return Ending.TIMED_OUT
        if process.returncode:
            lines = told.strip().splitlines() or [""]
            sys.stderr.write(next((line for line in lines if "error:" in line), lines[-1]))
            return Ending.FAILED
        sys.stdout.write(f"{made}\n")
        sys.stdout.flush()
        done.wait()
    return 0


def _wait_for_parent(process: subprocess.Popen[str], done: threading.Event) -> None:
    os.read(sys.stdin.fileno(), 1)  # a buffered reader would keep its lock after the main thread has ended
    _end(process)
    done.set()


def _end(process: subprocess.Popen[str]) -> None:
    """End the compiler and the processes that it started."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _only_live_builds(folder: Path) -> Iterator[None]:
    """Remove the folders of builds that were killed, and lock ``folder``, so that others see this build as live."""
    import fcntl  # not on Windows, which has no kernels

    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another build runs, or the file system has no locks
            pass
        else:
            for left in folder.glob(f"{_PREFIX}*"):
                shutil.rmtree(left, ignore_errors=True)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)


if __name__ == "__main__":
    sys.exit(main())
