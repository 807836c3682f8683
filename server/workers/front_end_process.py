"""A front end's process as the hub sees it: started, watched, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from dataclasses import dataclass, field

from whispergpt.server.listener import FLUSH_SECONDS
from whispergpt.server.settings import Settings
from whispergpt.server.workers.messages import Channel


@dataclass
class FrontEndProcess:
    """A front end that runs.

    Attributes:
        link: number of its links to the engines.
        serving: set once it takes connections.
        ended: set once its process has ended and everything is freed.
        leaving: whether another takes over from it.
    """

    worker: str
    lane: int
    link: int
    process: asyncio.subprocess.Process
    channel: Channel
    serving: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: bool = False
    began: float = field(default_factory=time.monotonic)
    last_beat: float = field(default_factory=time.monotonic)
    late: int = 0

    @classmethod
    async def start(cls, lane: int, link: int, board: int) -> FrontEndProcess:
        """Start a process, which waits for its ``Part``; ``board`` is the descriptor of the board's memory.

        Raises:
            OSError: there is no process to be had.
        """
        here, there = socket.socketpair()
        with there:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "whispergpt.engine.child",
                str(os.getpid()),
                "whispergpt.server.workers.front_end",
                str(there.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=(there.fileno(), board),
            )
        return cls(str(lane), lane, link, process, await Channel.open(here, "hub"))

    def hangs(self, settings: Settings) -> bool:
        """Return whether its last two looks in a row came too long after its last beat.

        One late look is not enough: after a stop of this process messages are still to be read.
        """
        longest = settings.stall_seconds if self.serving.is_set() else settings.start_seconds
        self.late = self.late + 1 if time.monotonic() - self.last_beat >= longest else 0
        return self.late >= 2

    async def end(self) -> int:
        """Wait for the end of a process that has closed its socket, kill it if that takes long; return its status."""
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                return await self.process.wait()
        except TimeoutError:
            self.kill()
            return await self.process.wait()

    def kill(self) -> None:
        """Kill the process, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
