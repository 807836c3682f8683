"""Socket to an engine: commands go out, events come in, each direction a bounded queue."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Protocol

import zmq
import zmq.asyncio

from whispergpt.engine.messages.commands import Command, pack
from whispergpt.engine.messages.events import Event, unpack_event
from whispergpt.server.settings import Settings


class EngineSocket:
    """Socket that an engine connects to.

    A new run of the engine gets a new socket: nothing of a dead run can reach the next. On Linux its name is no file,
    so a server that is killed leaves none behind; only processes of this user are let in. Elsewhere it is in a folder
    of mode 700.

    Attributes:
        endpoint: its ZeroMQ address.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = None if sys.platform == "linux" else Path(tempfile.mkdtemp(prefix="whispergpt-"))
        self._context = zmq.asyncio.Context()
        try:
            self._socket = self._context.socket(zmq.PAIR)
        except zmq.ZMQError as error:
            self._remove_folder()
            raise OSError(error.errno, f"no socket to the engine ({error.strerror})") from None
        self._at_once: zmq.Socket[bytes] = zmq.Socket.shadow(self._socket)
        self._socket.setsockopt(zmq.SNDHWM, settings.command_queue)
        self._socket.setsockopt(zmq.RCVHWM, settings.event_queue)
        self._socket.setsockopt(zmq.LINGER, 0)
        if self._folder is None:
            self._socket.setsockopt(zmq.IPC_FILTER_UID, os.geteuid())
            self.endpoint = f"ipc://@whispergpt-{secrets.token_hex(16)}"
        else:
            self.endpoint = f"ipc://{self._folder}/engine.sock"

    def bind(self) -> None:
        """Let the engine connect.

        Raises:
            OSError: the socket cannot be made.
        """
        try:
            self._socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            where = "" if self._folder is None else "; TMPDIR says where"
            raise OSError(
                error.errno, f"no socket to the engine at {self.endpoint} ({error.strerror}){where}"
            ) from None

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

    def receive_now(self) -> Event | None:
        """Return the next event if it is there, at a fraction of the cost of ``receive``; None if not.

        Raises:
            msgspec.ValidationError: as ``receive``.
        """
        try:
            return unpack_event(self._at_once.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return None

    def close_socket(self) -> None:
        """Close the socket and remove it."""
        self._socket.close(linger=0)
        self._context.term()
        self._remove_folder()

    def _remove_folder(self) -> None:
        """Remove the socket's folder: a connected socket needs no name, and a killed server would leave it."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


class EngineRun(Protocol):
    """One run of an engine, and the socket to it."""

    @property
    def pid(self) -> int | None:
        """Return the engine's pid; None before it is started."""
        ...

    async def start(self) -> None:
        """Start it, or have it connect."""
        ...

    def post(self, command: Command) -> None:
        """Queue a command, as ``EngineSocket``."""
        ...

    async def send(self, command: Command) -> None:
        """Send a command, as ``EngineSocket``."""
        ...

    async def receive(self) -> Event:
        """Return the next event, as ``EngineSocket``."""
        ...

    def receive_now(self) -> Event | None:
        """Return the next event if it is there, as ``EngineSocket``."""
        ...

    async def wait(self) -> str:
        """Wait for its end; returns how it ended, for the log."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    async def close(self) -> None:
        """End it, or leave it, and close the socket."""
        ...
