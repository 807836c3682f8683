"""The engine's process: started with a private socket, watched, and never outliving the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections import deque
from pathlib import Path

import msgspec
import zmq
import zmq.asyncio

from whispergpt.engine.checkpoints.installed import default_models
from whispergpt.engine.config import EngineOptions
from whispergpt.engine.messages import Command, Event, pack, unpack_event
from whispergpt.server.link.devices import EngineDevice
from whispergpt.server.observe import logs
from whispergpt.server.settings import Settings

log = logs.get("server.engine")
_LAST_LINES = 20
_STOP_SECONDS = 5.0


def options_of(settings: Settings, device: EngineDevice) -> EngineOptions:
    """Return the options of the engine on ``device``, with the installed models where the settings name none."""
    return EngineOptions(
        models=settings.model or default_models(),
        device=device.name,
        dtype=settings.dtype,
        max_streams=settings.max_streams,
        prompt_cache_bytes=settings.prompt_cache_bytes,
        max_load=settings.max_load,
        exact=settings.strict,
        sharing=device.sharing,
    )


class EngineProcess:
    """One run of ``whispergpt.engine.process.worker`` and the socket to it, each direction a bounded queue.

    A new run gets a new socket: nothing of a dead run can reach the next. On Linux its name is no file, so a server
    that is killed leaves none behind; only processes of this user are let in. Elsewhere it is in a folder of mode 700.
    """

    def __init__(self, settings: Settings, device: EngineDevice) -> None:
        self._settings, self.device = settings, device
        self._folder = None if sys.platform == "linux" else Path(tempfile.mkdtemp(prefix="whispergpt-"))
        self._context = zmq.asyncio.Context()
        try:
            self._socket = self._context.socket(zmq.PAIR)
        except zmq.ZMQError as error:
            self._remove_folder()
            raise OSError(error.errno, f"no socket to the engine ({error.strerror})") from None
        self._socket.setsockopt(zmq.SNDHWM, settings.command_queue)
        self._socket.setsockopt(zmq.RCVHWM, settings.event_queue)
        self._socket.setsockopt(zmq.LINGER, 0)
        if self._folder is None:
            self._socket.setsockopt(zmq.IPC_FILTER_UID, os.geteuid())
            self._endpoint = f"ipc://@whispergpt-{secrets.token_hex(16)}"
        else:
            self._endpoint = f"ipc://{self._folder}/engine.sock"
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)

    async def start(self) -> None:
        """Bind the socket and start the process.

        Raises:
            OSError: the process or its socket cannot be made.
        """
        try:
            self._socket.bind(self._endpoint)
        except zmq.ZMQError as error:
            where = "" if self._folder is None else "; TMPDIR says where"
            raise OSError(
                error.errno, f"no socket to the engine at {self._endpoint} ({error.strerror}){where}"
            ) from None
        parent = str(os.getpid())  # said, not asked for: by the time that the child can ask, this process may be gone
        # Its own session: Ctrl-C in a terminal must reach the server alone, which lets streams play out first.
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a file random.py where the server was started would be imported as Python's
            "-m",
            "whispergpt.engine.child",
            parent,
            "whispergpt.engine.process.worker",
            self._endpoint,
            parent,
            json.dumps(msgspec.structs.asdict(options_of(self._settings, self.device))),  # a path need not be UTF-8
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._log_output(self._process))

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def post(self, command: Command) -> None:
        """Queue a small command without waiting; commands keep their order."""
        future = asyncio.ensure_future(self._socket.send(pack(command)))
        # Where the process has died the send never ends; its death is reported on its own path.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def send(self, command: Command) -> None:
        """Send a command, waiting while the queue to the engine is full."""
        await self._socket.send(pack(command))

    async def receive(self) -> Event:
        """Return the next event.

        Raises:
            msgspec.ValidationError: a message is not an event.
        """
        parts = await self._socket.recv_multipart()
        self._remove_folder()
        return unpack_event(parts)

    async def wait(self) -> str:
        """Wait for the process to end; returns how it ended, for the log."""
        assert self._process is not None
        code = await self._process.wait()
        if self._reader:
            await asyncio.wait([self._reader], timeout=1.0)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        last = next((line for line in reversed(self._last_lines) if line.strip()), "")
        return f"the engine's process {how}" + (f" after saying: {last}" if last and code else "")

    def kill(self) -> None:
        """End the process at once."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """End the process, gently first, and remove its socket."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
            except TimeoutError:
                self.kill()
                await self._process.wait()
        if self._reader:
            self._reader.cancel()
        self._socket.close(linger=0)
        self._context.term()
        self._remove_folder()

    def _remove_folder(self) -> None:
        """Remove the socket's folder: a connected socket needs no name, and a killed server would leave it."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def _log_output(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # longer than the reader's buffer: the rest comes as the next line
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            self._last_lines.append(text)
            log.info("engine says", engine=self.device.number, text=text)
