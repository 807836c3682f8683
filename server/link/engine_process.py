"""The engine's process: started with a private socket, watched, and never outliving the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque

import msgspec

from whispergpt.engine.checkpoints.installed import default_models
from whispergpt.engine.config import EngineOptions
from whispergpt.server.link.devices import EngineDevice
from whispergpt.server.link.engine_socket import EngineSocket
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


class EngineProcess(EngineSocket):
    """One run of an engine's process and the socket to it."""

    module = "whispergpt.engine.process.worker"
    """Module that the process runs."""

    def __init__(self, settings: Settings, device: EngineDevice) -> None:
        super().__init__(settings)
        self._settings, self.device = settings, device
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)

    async def start(self) -> None:
        """Bind the socket and start the process.

        Raises:
            OSError: the process or its socket cannot be made.
        """
        self.bind()
        parent = str(os.getpid())  # said, not asked for: by the time that the child can ask, this process may be gone
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a file random.py where the server was started would be imported as Python's
            "-m",
            "whispergpt.engine.child",
            parent,
            self.module,
            self.endpoint,
            parent,
            json.dumps(msgspec.structs.asdict(options_of(self._settings, self.device))),  # a path need not be UTF-8
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._log_output(self._process))

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

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
        self.close_socket()

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
