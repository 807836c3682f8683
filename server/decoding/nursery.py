"""The server's side of the nursery, the process that forks decoders: started, asked, and replaced when it is lost."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import whispergpt
from whispergpt.engine.audio.wire import ASK, CONFINED, END, FORK, NOT_YET, TOLD
from whispergpt.server.observe import logs

log = logs.get("server.decoding")
_STOP_SECONDS = 2.0
_ANSWER_SECONDS = 10.0
"""Seconds within which it answers, on a busy machine too; one that does not is replaced."""
_START_SECONDS = 60.0
"""Seconds within which it has loaded its libraries."""
_ENDING_SECONDS = 0.002
"""Seconds between two questions whether a decoder has ended."""
_KEPT = {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH"}
"""Variables of the environment that decoders get; others may hold keys."""
_OWN = {
    "OPENBLAS_NUM_THREADS": "1",  # a process with threads cannot safely be forked
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class NurseryError(OSError):
    """The nursery cannot be started, or cannot fork."""


class Child(NamedTuple):
    """A decoder's process: its pid, and the run of the nursery that forked it."""

    pid: int
    run: int


class Nursery:
    """One run of ``whispergpt.engine.audio.nursery`` at a time. All methods block, for milliseconds once it runs.

    A run that ended, or stands still, is replaced.

    Args:
        cpu_seconds: processor time of each decoder.
        memory_bytes: memory of each decoder.
    """

    def __init__(self, cpu_seconds: int, memory_bytes: int) -> None:
        self._arguments = [str(cpu_seconds), str(memory_bytes)]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = False
        self.run = 0
        """Number of starts: decoders of an earlier run have ended with it."""

    def fork(self, connection: socket.socket) -> Child:
        """Give a new decoder the other end of ``connection``; returns its process.

        Raises:
            NurseryError: there is no process to be had.
        """
        with self._lock:
            try:
                pid, error_number = self._ask(FORK, 0, connection)
            except OSError:
                self._stop()
                if self._closed:
                    raise NurseryError("decoders are not needed any more") from None
                try:
                    self._start()
                    pid, error_number = self._ask(FORK, 0, connection)
                except OSError as error:
                    self._stop()
                    raise NurseryError(f"no process for decoders: {error}") from None
            if pid < 0:  # it runs on, and so do its decoders
                raise NurseryError(f"no process for a decoder: {os.strerror(error_number)}")
            return Child(pid, self.run)

    def end(self, child: Child) -> int | None:
        """Kill a decoder, if it still runs; returns its exit status, negative for a signal, None if it is unknown."""
        while True:
            with self._lock:
                if child.run != self.run:  # another process may have its pid by now
                    return None
                try:
                    pid, status = self._ask(END, child.pid)
                except OSError:
                    self._stop()  # a late answer would be taken for that to another question
                    return None
            if pid != NOT_YET:
                return os.waitstatus_to_exitcode(status)
            time.sleep(_ENDING_SECONDS)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def close(self) -> None:
        """End it and all its decoders."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()  # a thread that waits for its answer holds the lock
        with self._lock:
            self._stop()

    def _ask(self, what: bytes, pid: int, connection: socket.socket | None = None) -> tuple[int, int]:
        if self._control is None:
            raise NurseryError("it does not run")
        request = ASK.pack(what, pid)
        if connection is None:
            self._control.sendall(request)
        else:
            socket.send_fds(self._control, [request], [connection.fileno()])
        return self._told()

    def _told(self) -> tuple[int, int]:
        assert self._control is not None
        answer = self._control.recv(TOLD.size, socket.MSG_WAITALL)
        if len(answer) < TOLD.size:
            raise NurseryError("it ended")
        pid, status = TOLD.unpack(answer)
        return int(pid), int(status)

    def _start(self) -> None:
        self.run += 1
        self._control, theirs = socket.socketpair()
        with theirs:
            environment = {name: value for name, value in os.environ.items() if name in _KEPT}
            # The package may have been found in the folder that the server was started in, where decoders do not look.
            root = str(Path(whispergpt.__file__).parents[1])
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), root]))
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "whispergpt.engine.audio.nursery", str(theirs.fileno()), *self._arguments],
                env=environment | _OWN,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                pass_fds=(theirs.fileno(),),
                process_group=0,  # and the server's session, within which its priority counts
            )
        self._control.settimeout(_START_SECONDS)
        _, confined = self._told()
        self._control.settimeout(_ANSWER_SECONDS)
        if confined != CONFINED:
            log.warning("decoders have limits alone: this system lets them have no filter of system calls")

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_STOP_SECONDS)
        self._control = self._process = None
