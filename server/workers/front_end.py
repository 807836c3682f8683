"""One front end: ``python -m whispergpt.server.workers.front_end DESCRIPTOR``; the descriptor is its socket to the hub.

It serves as a server that is one process does. What bounds are checked against is on the board, and the engines are
the hub's.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from whispergpt.server.access.guard import Guard
from whispergpt.server.admission.admission import Admission
from whispergpt.server.link.devices import EngineDevice
from whispergpt.server.link.live_streams import LinkShare
from whispergpt.server.link.remote_engines import RemoteEngines
from whispergpt.server.listener import listen
from whispergpt.server.observe import front_end_metrics, logs
from whispergpt.server.observe.allocator import return_large_blocks
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.observe.processes import FrontEndProcesses
from whispergpt.server.serve_error import ServeError
from whispergpt.server.services import Shared
from whispergpt.server.serving import make_server, settle
from whispergpt.server.settings import Settings
from whispergpt.server.workers import messages as m
from whispergpt.server.workers.addresses import Accounts, HubAddresses
from whispergpt.server.workers.board import Board
from whispergpt.server.workers.counts import HubCounts
from whispergpt.server.workers.feed_relay import FeedRelay
from whispergpt.server.workers.questions import HubQuestions
from whispergpt.server.workers.stream_rows import FreeRows, StreamRows

log = logs.get("server.front_end")
_BEAT_SECONDS = 0.5
_READY_SECONDS = 5.0
"""Longest wait for a link to the engines before listening; later requests are told that the engine restarts."""
_LOOK_SECONDS = 0.05
"""Seconds between looks at what other front ends do."""


class FrontEnd:
    """A front end and its part.

    Args:
        channel: to the hub.
        port: its socket at the port of all front ends.

    Raises:
        ServeError: the settings cannot be used.
    """

    def __init__(self, part: m.Part, settings: Settings, channel: m.Channel, port: socket.socket) -> None:
        self._channel, self._port, self._in_place = channel, port, part.begun
        self._board = Board(part.board, part.lanes, part.lane)
        self._seconds = self._board.number("processor seconds")
        self._lead = self._board.number("playback lead")
        self._questions = HubQuestions(channel.post)
        processes = FrontEndProcesses(lambda: [pid for pid in self._board.pids.tolist() if pid], self._computed)
        metrics, free = Metrics(processes), FreeRows()

        def share(engine: int) -> LinkShare:
            return LinkShare(part.link, self._board, StreamRows(self._board, free, engine))

        def addresses(guard: Guard, admission: Admission) -> HubAddresses:
            return HubAddresses(Accounts(settings, guard, admission), self._questions)

        self._engines = RemoteEngines(settings, metrics, share, part.begun)
        self._relay = FeedRelay(part.worker, Path(part.metrics))
        counts = HubCounts(self._questions)
        shared = Shared(self._board, metrics, counts, self._engines, addresses, self._relay, part.made_key)
        self._server, self._services = make_server(settings, shared=shared)
        self._server.obey = self._say_leaving
        metrics.playback_lead.set_function(self._least_lead)

    async def run(self) -> None:
        """Serve until the hub says that this ends, or a signal does."""
        server = asyncio.create_task(self._listen())
        others = [asyncio.create_task(work()) for work in (self._obey, self._beat, self._look, self._relay_feeds)]
        ready = asyncio.create_task(self._say_serving())
        try:
            await asyncio.wait([server, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in others:
                if task.done():
                    task.result()  # raises: without it the front end cannot go on
            await server
        finally:
            for task in (ready, *others):
                task.cancel()

    async def _listen(self) -> None:
        """Listen, in place of another front end only once requests can be served here: others listen meanwhile."""
        if self._in_place:
            with suppress(TimeoutError):
                async with asyncio.timeout(_READY_SECONDS):
                    await self._engines.first_ready.wait()
        await self._server.serve([self._port])

    async def _obey(self) -> None:
        """Do what the hub says; without it, end at once."""
        while (message := await self._channel.receive()) is not None:
            match message:
                case m.EngineUp():
                    device = EngineDevice(message.device, message.number, message.engines, message.sharing)
                    self._engines.follow(device, message.pid, partial(self._say_bound, message.number, message.run))
                case m.EngineDown():
                    self._engines.lose(message.number, message.how)
                case m.Drain():
                    self._server.drain("the hub's")
                case m.End():
                    self._server.end()
                case m.Leave():
                    self._server.leave()
                case m.Answered():
                    self._questions.answered(message)
                case _:
                    raise RuntimeError(f"unexpected {type(message).__name__}")
        log.error("the hub is gone")
        os._exit(1)

    def _say_bound(self, number: int, run: int, endpoint: str) -> None:
        self._channel.post(m.LinkBound(number, run, endpoint))

    def _say_leaving(self, signal: str) -> None:
        log.info("leaving", signal=signal)
        self._channel.post(m.Leaving())  # the hub says when

    async def _say_serving(self) -> None:
        await self._engines.first_ready.wait()
        await self._server.listening.wait()
        settle()
        self._channel.post(m.Serving())

    async def _beat(self) -> None:
        while True:
            self._seconds.part = time.process_time()
            self._lead.part = self._services.playing.least_lead()
            self._channel.post(m.Beat())
            await asyncio.sleep(_BEAT_SECONDS)

    async def _relay_feeds(self) -> None:
        await self._relay.serve(self._services.feeds)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._services.precedence.look()

    def _computed(self) -> float:
        """Return the processor seconds of the hub and all front ends, as of their last beats."""
        self._seconds.part = time.process_time()
        return self._seconds.total

    def _least_lead(self) -> float:
        """Return the smallest lead of all front ends in seconds, 0 where nothing plays."""
        self._lead.part = self._services.playing.least_lead()
        return min((lead for lead in self._lead.parts() if lead), default=0.0)


async def _serve(descriptor: int) -> None:
    channel = await m.Channel.open(socket.socket(fileno=descriptor), "front end")
    part = await channel.receive()
    if part is None:
        return
    assert isinstance(part, m.Part)
    for own in (descriptor, part.board):
        os.set_inheritable(own, False)  # decoders have no business with them
    settings = Settings(**part.settings)
    logs.configure(settings.log_level, settings.log_lines / settings.front_ends, part.worker)
    told = (os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""), f"service.instance.id=worker-{part.worker}")
    os.environ["OTEL_RESOURCE_ATTRIBUTES"] = ",".join(filter(None, told))
    return_large_blocks()
    front_end_metrics.write_to(Path(part.metrics), f"worker-{part.worker}")
    with listen(settings, part.port) as port:
        await FrontEnd(part, settings, channel, port).run()


def main() -> int:
    """Serve as the hub says; returns the exit status."""
    try:
        asyncio.run(_serve(int(sys.argv[1])))
    except ServeError as error:
        log.error("the front end cannot serve", why=str(error))
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
