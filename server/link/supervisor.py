"""Keeps one engine running: starts it, restarts it after a crash with growing pauses, ends it with the server."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Literal

from whispergpt.server.link.devices import EngineDevice
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

State = Literal["starting", "ready", "restarting", "failed"]


class Supervisor:
    """Keeps the engine of one device running.

    Args:
        ready: called whenever an engine has become ready, with its link.
        fail: called with a reason and the server's exit status if the server must end: the first load failed, or
            ``strict`` and the engine crashed.
        first: the first engine process, if it has been started already.

    Attributes:
        link: to the engine that runs, or the last that did; None before the first is ready.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        device: EngineDevice,
        ready: Callable[[EngineLink], None],
        fail: Callable[[str, int], None],
        first: EngineProcess | None = None,
    ) -> None:
        self.state: State = "starting"
        self.device = device
        self.link: EngineLink | None = None
        self._settings, self._metrics, self._first = settings, metrics, first
        self._tell_ready, self._tell_failed = ready, fail
        self._running: EngineLink | None = None
        self._task: asyncio.Task[None] | None = None
        self._log = log.bind(engine=device.number, device=device.name)

    @property
    def ready_link(self) -> EngineLink | None:
        """Return the link to the engine for new work; None while there is no engine that is ready."""
        return self.link if self.state == "ready" and self.link and not self.link.lost else None

    def start(self) -> None:
        """Start the engine in the background."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the engine and forget it."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._running:
            await self._running.stop(drain_seconds=2.0)
            self._running = None

    async def _run(self) -> None:
        try:
            await self._keep_running()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("the supervisor failed")
            self._fail(f"the engine cannot be kept running: {error}")

    async def _keep_running(self) -> None:
        crashes = 0
        while True:
            started = time.monotonic()
            try:
                link = await self._started()
            except (EngineStartError, OSError) as error:
                if self.link is None or self._settings.strict:
                    self._fail(str(error), error.status if isinstance(error, EngineStartError) else 1)
                    return
                self._log.error("the engine did not start again", error=str(error))
            else:
                self._warn(link)
                self.link, self.state = link, "ready"
                seconds = round(time.monotonic() - started, 2)
                kernels = sorted({model.kernels for model in link.models.values()})
                self._log.info("engine ready", models=list(link.models), kernels=kernels, seconds=seconds)
                self._tell_ready(link)
                how = await link.run()
                self.state = "restarting"  # before a client that is told of the loss asks whether the server is ready
                await link.stop()
                self._running = None
                self._log.error("engine lost", how=how)
                if self._settings.strict:
                    self._fail(f"{how}, and --strict allows no restart")
                    return
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
        link, self._first = EngineLink(self._settings, self._metrics, self.device, self._first), None
        self._running = link
        try:
            await link.start()
        except BaseException:
            await link.stop()
            self._running = None
            raise
        return link

    def _warn(self, link: EngineLink) -> None:
        """Warn of what differs from the engine before, and of what is slow or inexact."""
        now = fingerprints_of(link)
        if self.link is not None and now != (before := fingerprints_of(self.link)):
            self._log.warning("seeds give other samples than before", before=before, now=now)
        for model in link.models.values():
            if model.slow_because:
                self._log.warning("the frame step is slow", model=model.id, because=model.slow_because)
            if self._settings.strict and model.resumable and not model.exactly:
                self._log.warning("streams go on elsewhere with other samples: kernels alone recall exactly")

    def _fail(self, message: str, status: int = 1) -> None:
        self.state = "failed"
        self._tell_failed(message, status)


def fingerprints_of(link: EngineLink) -> dict[str, str]:
    """Return the fingerprint of each model of an engine, by the model's name."""
    return {model.id: model.fingerprint for model in link.models.values()}


def pause_after(crashes: int, least: float, most: float) -> float:
    """Return the seconds before the engine's next start after ``crashes`` in a row, at least one."""
    return min(most, least * 2.0 ** min(crashes - 1, _MOST_DOUBLINGS))
