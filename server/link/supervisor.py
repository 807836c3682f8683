"""Keeps one engine running: starts it, restarts it after a crash with growing pauses, ends it with the server."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Literal

from whispergpt.server.errors import ApiError
from whispergpt.server.link.engine_link import EngineLink
from whispergpt.server.link.engine_process import EngineProcess
from whispergpt.server.link.engine_start import EngineStartError
from whispergpt.server.observe import logs
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.settings import Settings

log = logs.get("server.supervisor")
_HEALTHY_SECONDS = 60.0
"""Seconds after which an engine's crash counts as the first one again."""
_MOST_DOUBLINGS = 30
"""Doublings of the pause, so that many failures do not make a number too large; the longest pause comes before."""

State = Literal["starting", "ready", "restarting", "draining", "failed"]


class Supervisor:
    """Owns the engine's link; requests borrow it through ``link()``.

    Args:
        first: the first engine process, if it has been started already.
    """

    def __init__(self, settings: Settings, metrics: Metrics, first: EngineProcess | None = None) -> None:
        self.state: State = "starting"
        self.first_ready = asyncio.Event()
        self.drain_begun = asyncio.Event()
        self._settings, self._metrics, self._first = settings, metrics, first
        self._link: EngineLink | None = None
        self._task: asyncio.Task[None] | None = None
        self._fatal = asyncio.Event()
        self.failure = ""
        self.exit_status = 1
        """Exit status of the server once it has failed."""

    def start(self) -> None:
        """Start the engine in the background."""
        self._task = asyncio.create_task(self._run())

    async def failed(self) -> str:
        """Wait until the server must end, and say why: the first load failed, or ``strict`` and the engine crashed."""
        await self._fatal.wait()
        return self.failure

    def drain(self) -> None:
        """Take no new work; streams go on."""
        self.drain_begun.set()
        self.state = "draining"

    def cut_off(self) -> None:
        """End the streams that still play, once the time to drain is over."""
        if self._link:
            self._link.cut_off(
                ApiError(503, "cut_off", "The server is shutting down and could not wait any longer.", close_code=1001)
            )

    @property
    def draining(self) -> bool:
        return self.drain_begun.is_set()

    def link(self) -> EngineLink:
        """Return the link to the running engine, for new work.

        Raises:
            ApiError: 503 while it is starting, restarting, draining or has failed.
        """
        if self.draining:
            raise ApiError(
                503,
                "draining",
                "The server is shutting down and takes no new work; try another or later.",
                retry_after=self._settings.retry_after_seconds,
            )
        if self._link is None or self.state != "ready":
            doing = "loading its models" if self.state == "starting" else "restarting its engine"
            raise ApiError(
                503,
                "starting",
                f"The server is {doing}; try again in a moment.",
                retry_after=self._settings.retry_after_seconds,
            )
        return self._link

    async def stop(self) -> None:
        """End the engine and forget it."""
        self.drain()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._link:
            await self._link.stop(drain_seconds=2.0)
            self._link = None

    async def _run(self) -> None:
        try:
            await self._keep_running()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("the supervisor failed")
            self._fail(f"the engine cannot be kept running: {error}")

    async def _keep_running(self) -> None:
        crashes, fingerprints = 0, None
        while True:
            started = time.monotonic()
            try:
                link = await self._started()
            except (EngineStartError, OSError) as error:
                if fingerprints is None or self._settings.strict:
                    self._fail(str(error), error.status if isinstance(error, EngineStartError) else 1)
                    return
                log.error("the engine did not start again", error=str(error))
            else:
                now = {model.id: model.fingerprint for model in link.models.values()}
                if fingerprints is not None and now != fingerprints:
                    log.warning("seeds give other samples than before", before=fingerprints, now=now)
                fingerprints = now
                for model in link.models.values():
                    if model.slow_because:
                        log.warning("the frame step is slow", model=model.id, because=model.slow_because)
                    if self._settings.strict and model.resumable and not model.exactly:
                        log.warning("streams go on elsewhere with other samples: kernels alone recall exactly")
                if not self.draining:
                    self.state = "ready"
                log.info("engine ready", models=list(link.models), seconds=round(time.monotonic() - started, 2))
                self.first_ready.set()
                how = await link.run()
                self._restart()  # before a client that is told of the loss asks whether the server is ready
                await link.stop()
                self._link = None
                log.error("engine lost", how=how)
                if self._settings.strict:
                    self._fail(f"{how}, and --strict allows no restart")
                    return
            self._restart()
            crashes = 1 if time.monotonic() - started > _HEALTHY_SECONDS else crashes + 1
            pause = pause_after(crashes, self._settings.restart_min_seconds, self._settings.restart_max_seconds)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            self._metrics.engine_restarts.inc()

    async def _started(self) -> EngineLink:
        """Return a link to a new engine that is ready.

        Raises:
            EngineStartError: it cannot load.
            OSError: there are no files or processes to be had for it.
        """
        link, self._first = EngineLink(self._settings, self._metrics, self._first), None
        self._link = link
        try:
            await link.start()
        except BaseException:
            await link.stop()
            self._link = None
            raise
        return link

    def _restart(self) -> None:
        """Be ready no more, unless the server drains."""
        if not self.draining:
            self.state = "restarting"

    def _fail(self, message: str, status: int = 1) -> None:
        self.state, self.failure, self.exit_status = "failed", message, status
        self._fatal.set()


def pause_after(crashes: int, least: float, most: float) -> float:
    """Return the seconds before the engine's next start after ``crashes`` in a row, at least one."""
    return min(most, least * 2.0 ** min(crashes - 1, _MOST_DOUBLINGS))
