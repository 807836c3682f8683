"""Runs the app under uvicorn: one line on stdout when ready, SIGTERM drains, a failed engine ends the process."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType

import uvicorn

from whispergpt.engine.short_slices import take_short_slices
from whispergpt.server.access.api_keys import KeyFileError
from whispergpt.server.access.fleet_limits import FleetLimitsError
from whispergpt.server.app import create_app
from whispergpt.server.edge.connection.request_turns import pipelined_turns
from whispergpt.server.edge.connection.shared_bounds import SharedBounds
from whispergpt.server.edge.connection.waiting_bytes import WaitingBytes
from whispergpt.server.edge.http_protocol import BoundedHttpProtocol
from whispergpt.server.edge.ws_protocol import BoundedWebSocketProtocol
from whispergpt.server.link.engine_process import EngineProcess
from whispergpt.server.listener import FLUSH_SECONDS
from whispergpt.server.observe import logs
from whispergpt.server.observe.tracing import TracingError
from whispergpt.server.open_files import most_connections
from whispergpt.server.ready_line import say_draining, say_ready
from whispergpt.server.serve_error import ServeError
from whispergpt.server.services import Services, Shared, services_of
from whispergpt.server.settings import Settings

log = logs.get("server.run")
_SWITCH_SECONDS = 0.0005
"""Seconds after which a thread gives Python's lock to one that waits for it: threads that decode and encode need it
some twenty times for each prompt, and the event loop may be busy all the time."""
_PING_SECONDS = 20.0
_ACCEPTED_AT_ONCE = 64
"""Connections accepted in a row. Where files run out, the event loop tries and logs as often, too."""


class DrainingServer(uvicorn.Server):
    """Server whose first signal drains and whose second ends it at once. A drained server exits with 0."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self.obey: Callable[[str], None] = self._drain_for_signal
        """Called with the name of a signal."""
        self._services = services
        self.listening = asyncio.Event()
        self._drain: asyncio.Task[None] | None = None
        self._end: asyncio.Task[None] | None = None
        self._signals = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._obey, sig)

    def hang_up(self) -> None:
        """Drain because the terminal is gone. A shell and the system both say so."""
        if not self._services.engines.draining:
            self._obey(signal.SIGHUP)

    def _obey(self, sig: int) -> None:
        self._signals += 1
        if self._signals > 1:
            log.warning("second signal, ending at once", signal=signal.Signals(sig).name)
        self.obey(signal.Signals(sig).name)

    def _drain_for_signal(self, sent: str) -> None:
        """Drain; at a second signal end, and at a third one do not wait for clients to be told."""
        if self._signals > 2:
            self.should_exit = True
        elif self._signals == 2:
            self.end()
        elif not self._services.engines.draining:
            say_draining(self._services.settings.drain_seconds, self._services.engines.streams)
            self.drain(sent)

    def drain(self, because: str) -> None:
        """Take no new work, and end with the last stream or after ``drain_seconds``."""
        engines, seconds = self._services.engines, self._services.settings.drain_seconds
        if engines.draining:
            return
        log.info("draining", signal=because, seconds=seconds, streams=engines.streams, second_signal="ends at once")
        engines.drain()
        self._drain = asyncio.create_task(self._drain_and_exit())

    def end(self) -> None:
        """Take no new work, cut the streams off, and end once their clients were told why."""
        if self._end is None:
            self._services.engines.drain()
            self._end = asyncio.create_task(self._cut_off_and_exit())

    def leave(self) -> None:
        """Listen no more, end the streams that can be resumed elsewhere, and drain."""
        for server in self.servers if self.started else []:
            server.close()
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedHttpProtocol):
                connection.shutdown()  # now where no request is under way, else after the next answer
        self._services.engines.send_elsewhere()
        self.drain("leave")

    async def _drain_and_exit(self) -> None:
        try:
            async with asyncio.timeout(self._services.settings.drain_seconds):
                await self._services.admission.idle.wait()
        except TimeoutError:
            log.warning("time to drain is over")
            self.end()
        else:
            self.should_exit = True

    async def _cut_off_and_exit(self) -> None:
        """Exit when the clients were told. Connections would be closed by uvicorn, before that, without a reason."""
        self._services.engines.cut_off()
        self._services.feeds.close()  # those of other front ends' streams too
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._services.admission.idle.wait()
        except TimeoutError:
            log.warning("clients did not take their last bytes")
        self.should_exit = True


def make_server(
    settings: Settings, engines: Sequence[EngineProcess] = (), shared: Shared | None = None
) -> tuple[DrainingServer, Services]:
    """Return a server that does not serve yet, and its services.

    Args:
        engines: the first processes of engines, if they have been started already.
        shared: what this process shares with other front ends; None where it is the only one.

    Raises:
        ServeError: a file of keys, tracing or the store of limits cannot be used.
    """
    try:
        app = create_app(settings, engines, shared)
    except (KeyFileError, TracingError, FleetLimitsError) as error:
        raise ServeError(str(error)) from None
    services = services_of(app)
    sys.setswitchinterval(_SWITCH_SECONDS)
    take_short_slices()
    waiting = WaitingBytes(settings.pipelined_memory_bytes, services.ledger)
    pipelined = pipelined_turns(settings.front_ends)
    bounds = SharedBounds(most_connections(), settings.upload_seconds, waiting, pipelined_turns=pipelined)
    config = uvicorn.Config(
        app,
        http=partial(BoundedHttpProtocol, bounds=bounds),  # type: ignore[arg-type]  # it is called like a class
        log_config=None,
        access_log=False,
        ws=partial(BoundedWebSocketProtocol, count_bytes=services.admission.connection_bytes),  # type: ignore[arg-type]
        ws_max_size=settings.max_message_bytes,
        ws_per_message_deflate=False,
        ws_ping_interval=_PING_SECONDS,
        ws_ping_timeout=_PING_SECONDS,
        timeout_graceful_shutdown=FLUSH_SECONDS,
        backlog=_ACCEPTED_AT_ONCE,
        server_header=False,
    )
    return DrainingServer(config, services), services


async def run(settings: Settings, listener: socket.socket, engines: Sequence[EngineProcess]) -> None:
    """Serve until told to stop.

    Args:
        engines: the first processes of engines, if they have been started already.

    Raises:
        ServeError: a file of keys or tracing cannot be used, the models cannot be loaded, or ``strict`` and the engine
            crashed.
    """
    server, services = make_server(settings, engines)
    services.guard.announce()
    failed = asyncio.create_task(services.engines.failed())
    announce = asyncio.create_task(_announce(services, server, listener, settings.host))
    serving = asyncio.create_task(server.serve([listener]))
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under nohup
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.hang_up)
    try:
        await asyncio.wait([failed, serving], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            server.end()
        await serving
    finally:
        announce.cancel()
        failed.cancel()
    if failed.done() and not failed.cancelled():
        raise ServeError(failed.result(), services.engines.exit_status)


async def _announce(services: Services, server: DrainingServer, listener: socket.socket, host: str) -> None:
    port = listener.getsockname()[1]
    await services.engines.first_ready.wait()
    await server.listening.wait()
    settle()
    say_ready(url_of(host, port))


def settle() -> None:
    """Leave the objects that there are out of garbage collection, during which the event loop stands still."""
    gc.collect()
    gc.freeze()


def url_of(host: str, port: int) -> str:
    """Return the URL of a server that listens there."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"
