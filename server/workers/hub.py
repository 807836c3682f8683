"""The hub: starts the engines and the front ends, has what they share, and ends with all of them."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from whispergpt.server.access.api_keys import KeyFileError
from whispergpt.server.access.fleet_limits import FleetLimits, FleetLimitsError
from whispergpt.server.access.guard import Guard
from whispergpt.server.admission.admission import Admission
from whispergpt.server.link.engine_link import EngineLink
from whispergpt.server.link.engine_process import EngineProcess
from whispergpt.server.link.engines import Engines
from whispergpt.server.listener import FLUSH_SECONDS
from whispergpt.server.observe import front_end_metrics, logs
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.ready_line import say_draining, say_ready
from whispergpt.server.serve_error import ServeError
from whispergpt.server.serving import url_of
from whispergpt.server.settings import Settings
from whispergpt.server.workers.addresses import Accounts, AddressKeeper
from whispergpt.server.workers.board import Board
from whispergpt.server.workers.front_ends import FrontEnds

log = logs.get("server.hub")
_REMOVE = 'cat; while [ -e "$0" ]; do rm -rf -- "$0"; sleep 0.1; done'
"""Script that removes the folder ``$0`` once its input is closed; processes that end then may still write there."""


class HubEngines(Engines):
    """The engines, of which the front ends are told."""

    front_ends: FrontEnds

    def _engine_ready(self, link: EngineLink) -> None:
        super()._engine_ready(link)
        self.front_ends.engine_ready(link)


async def run(settings: Settings, kept: socket.socket, started: Sequence[EngineProcess]) -> None:
    """Serve with several front ends until told to stop.

    Args:
        kept: keeps the port.
        started: the first processes of engines, if they have been started already.

    Raises:
        ServeError: as of a server that is one process, or front ends cannot be started.
    """
    try:
        metrics = Path(tempfile.mkdtemp(prefix="whispergpt-metrics-"))
    except OSError as error:
        raise ServeError(f"no folder for the metrics of the front ends ({error.strerror}); TMPDIR says where") from None
    # The shell waits for this process's end, however it comes, and leaves no file behind.
    shell = ("sh", "-c", _REMOVE, str(metrics))
    remover = await asyncio.create_subprocess_exec(*shell, stdin=subprocess.PIPE, process_group=0)
    assert remover.stdin is not None
    try:
        await _run(settings, kept, started, metrics)
    finally:
        remover.stdin.close()
        await remover.wait()


async def _run(settings: Settings, kept: socket.socket, started: Sequence[EngineProcess], metrics: Path) -> None:
    front_end_metrics.write_to(metrics, "hub")
    if settings.resume_key is None:
        # What one front end seals opens at the others, and after this run nowhere.
        settings = settings.model_copy(update={"resume_key": SecretStr(secrets.token_urlsafe(32))})
    board = Board.make(lanes=2 * settings.front_ends + 1)
    try:
        guard = Guard(settings, board)
        fleet_limits = None if settings.limits_store is None else FleetLimits(settings.limits_store, guard, board)
    except (KeyFileError, FleetLimitsError) as error:
        raise ServeError(str(error)) from None
    guard.announce()
    keeper = AddressKeeper(Accounts(settings, guard, Admission(settings, board)))
    engines = HubEngines(settings, Metrics(), started)
    failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def fail(reason: str) -> None:
        if not failed.done():
            failed.set_result(reason)

    front_ends = FrontEnds(settings, board, guard, keeper, kept.getsockname()[1], metrics, fail)
    engines.front_ends = front_ends
    engines.start()
    if fleet_limits is not None:
        fleet_limits.start()
    try:
        await _serve(settings, engines, front_ends, kept, failed)
    finally:
        if fleet_limits is not None:
            await fleet_limits.stop()
        await front_ends.close()
        await engines.stop()


async def _serve(
    settings: Settings, engines: HubEngines, front_ends: FrontEnds, kept: socket.socket, failed: asyncio.Future[str]
) -> None:
    """Serve until a signal or a failure ends it."""
    stopped = asyncio.Event()
    rolling: set[asyncio.Task[None]] = set()

    def stop(sent: signal.Signals) -> None:
        if stopped.is_set():
            log.warning("second signal, ending at once", signal=sent.name)
            front_ends.end()
            return
        seconds, streams = settings.drain_seconds, engines.streams
        log.info("draining", signal=sent.name, seconds=seconds, streams=streams, second_signal="ends at once")
        say_draining(seconds, streams)
        engines.drain()
        front_ends.drain()
        stopped.set()

    def replace() -> None:
        rolling.add(asyncio.create_task(front_ends.replace_all()))

    loop = asyncio.get_running_loop()
    for sent in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sent, stop, sent)
    loop.add_signal_handler(signal.SIGHUP, replace)
    try:
        await front_ends.start()
    except OSError as error:
        raise ServeError(f"no front end can be started: {error.strerror}") from None
    host, port = settings.host, kept.getsockname()[1]
    ready = asyncio.create_task(_announce(engines, front_ends, url_of(host, port)))
    ends: list[asyncio.Future[str] | asyncio.Task[object]] = [
        failed,
        asyncio.create_task(engines.failed()),
        asyncio.create_task(stopped.wait()),
    ]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.is_set():
            engines.drain()
            front_ends.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.drain_seconds + 3 * FLUSH_SECONDS):
                await front_ends.all_ended()
    finally:
        for task in (ready, *ends[1:], *rolling):
            task.cancel()
    if stopped.is_set():
        return
    if failed.done():
        raise ServeError(failed.result())
    raise ServeError(await engines.failed(), engines.exit_status)


async def _announce(engines: Engines, front_ends: FrontEnds, url: str) -> None:
    await engines.first_ready.wait()
    await front_ends.all_serve()
    say_ready(url)
