"""The engines of a server, one for each device; new work goes to the one with the most room for it.

At the start the server waits for all of them: a device or model that cannot be used ends it before it has listeners.
Afterwards it is ready while at least one engine is. An engine that crashes is restarted while the others play on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Literal, TypeVar

from prometheus_client import Gauge

from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.stream_plan import Pace
from whispergpt.server.errors import ApiError
from whispergpt.server.link.devices import DevicesError, devices_of
from whispergpt.server.link.engine_link import EngineLink
from whispergpt.server.link.engine_process import EngineProcess
from whispergpt.server.link.supervisor import Supervisor, fingerprints_of
from whispergpt.server.observe import logs
from whispergpt.server.observe.loop_lag import watch_loop_lag
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.overtaken import unless
from whispergpt.server.parameters import find_model
from whispergpt.server.settings import Settings

log = logs.get("server.engines")
State = Literal["starting", "ready", "restarting", "draining", "failed"]
_T = TypeVar("_T")
_CUT_OFF = "The server is shutting down and could not wait any longer."
_UNUSABLE = 2
"""Exit status of a server whose models or devices cannot be used."""


class Engines:
    """Owns a supervisor for each device; requests borrow the links to their engines.

    Args:
        started: the first processes of engines, if they have been started already.

    Attributes:
        first_ready: set once every engine has been ready.
        drain_begun: set once the server takes no new work.
        exit_status: of the server once it has failed.
    """

    def __init__(self, settings: Settings, metrics: Metrics, started: Sequence[EngineProcess] = ()) -> None:
        self.first_ready, self.drain_begun = asyncio.Event(), asyncio.Event()
        self.exit_status = 1
        self._settings, self._metrics = settings, metrics
        self._supervisors: list[Supervisor] = []
        self._started = {process.device.number: process for process in started}
        self._task: asyncio.Task[None] | None = None
        self._fatal, self._failure = asyncio.Event(), ""
        self._cut_off = asyncio.Event()

    def start(self) -> None:
        """Start the engines in the background."""
        self._task = asyncio.create_task(self._run())

    async def failed(self) -> str:
        """Wait until the server must end, and say why: a first load failed, or ``strict`` and an engine crashed."""
        await self._fatal.wait()
        return self._failure

    def drain(self) -> None:
        """Take no new work; streams go on."""
        self.drain_begun.set()

    def cut_off(self) -> None:
        """End what still plays, and what is about to, and tell the clients why."""
        self._cut_off.set()
        for link in self._links():
            link.cut_off(_cut_off(_CUT_OFF))

    def send_elsewhere(self) -> None:
        """End the streams that can be resumed at another front end, and tell their clients so."""
        for link in self._links():
            link.cut_off(_cut_off("This front end is being replaced; connect again to go on."), resumable=True)

    async def unless_cut_off(self, work: Awaitable[_T]) -> _T:
        """Return the result of ``work``, which may not have a stream yet.

        Raises:
            ApiError: 503, streams are cut off; the work is cancelled.
        """
        return await unless(self._cut_off.wait(), partial(_cut_off, _CUT_OFF), work)

    async def stop(self) -> None:
        """End the engines and forget them."""
        self.drain()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        await asyncio.gather(*(supervisor.stop() for supervisor in self._supervisors))

    @property
    def streams(self) -> int:
        """Return the number of streams that play or wait, as the engines last told."""
        loads = [link.load(model) for link in self._links() for model in link.models]
        return sum(load.active + load.waiting for load in loads)

    @property
    def draining(self) -> bool:
        return self.drain_begun.is_set()

    @property
    def state(self) -> State:
        """Return the state of the server's engines together: ``ready`` if one of them takes new work."""
        if self._fatal.is_set():
            return "failed"
        if self.draining:
            return "draining"
        if not self.first_ready.is_set():
            return "starting"
        return "ready" if any(supervisor.ready_link for supervisor in self._supervisors) else "restarting"

    # --- for the routes

    def ready(self) -> list[EngineLink]:
        """Return the links to the engines that take new work, at least one.

        Raises:
            ApiError: 503 while all are starting or restarting, or the server drains or has failed.
        """
        again, state = self._settings.retry_after_seconds, self.state
        if self.draining:
            told = "The server is shutting down and takes no new work; try another or later."
            raise ApiError(503, "draining", told, retry_after=again)
        if state != "ready":
            doing = "loading its models" if state == "starting" else "restarting its engine"
            raise ApiError(503, "starting", f"The server is {doing}; try again in a moment.", retry_after=again)
        return [link for supervisor in self._supervisors if (link := supervisor.ready_link)]

    @property
    def models(self) -> dict[str, ModelInfo]:
        """The models by name, as the first ready engine describes them; they differ in their fingerprints at most.

        Raises:
            ApiError: as ``ready``.
        """
        return self.ready()[0].models

    def link(self, model: str, pace: Pace) -> EngineLink:
        """Return the link to the engine with the most room for one more stream; its prompt goes there too.

        Raises:
            ApiError: as ``ready``, or 400, no engine has the model any more.
        """
        ready = self.ready()
        having = [link for link in ready if model in link.models]
        if not having:
            find_model(ready[0].models, model)
        return max(having, key=lambda link: link.room(model, pace))

    def describe(self) -> list[dict[str, str]]:
        """Return the device and the state of each engine."""
        return [{"device": supervisor.device.name, "state": supervisor.state} for supervisor in self._supervisors]

    def fingerprints(self, model: str) -> list[str]:
        """Return the different fingerprints of a model on the engines that are ready, in their order."""
        return list(dict.fromkeys(link.models[model].fingerprint for link in self.ready() if model in link.models))

    # --- called by the supervisors

    def _engine_ready(self, link: EngineLink) -> None:
        self._show(link.models)
        links = self._links()
        if len(links) < len(self._supervisors):
            return
        if not self.first_ready.is_set() and len({_digests(each) for each in links}) > 1:
            self._fail("the engines loaded different models: files changed while the server started", _UNUSABLE)
            return
        fingerprints = [fingerprints_of(each) for each in links]
        if any(one != fingerprints[0] for one in fingerprints):
            log.warning("a seed gives other samples on other engines", fingerprints=fingerprints)
        self.first_ready.set()

    def _fail(self, message: str, status: int) -> None:
        """Have the server end; only the first reason counts."""
        if not self._fatal.is_set():
            self._failure, self.exit_status = message, status
            self._fatal.set()

    async def _run(self) -> None:
        try:
            devices = await devices_of(self._settings)
        except DevicesError as error:
            self._fail(str(error), _UNUSABLE)
            return
        except Exception as error:
            log.exception("the devices cannot be found")
            self._fail(f"the devices of the engines cannot be found: {error}", 1)
            return
        self._supervisors = [
            Supervisor(
                self._settings,
                self._metrics,
                device,
                self._engine_ready,
                self._fail,
                self._started.pop(device.number, None),
            )
            for device in devices
        ]
        for supervisor in self._supervisors:
            supervisor.start()
        await self.first_ready.wait()
        await watch_loop_lag(self._metrics.loop_lag)

    def _links(self) -> list[EngineLink]:
        """Return the links to all engines that have been ready, even if they are lost."""
        return [supervisor.link for supervisor in self._supervisors if supervisor.link]

    def _show(self, models: Iterable[str]) -> None:
        """Have the gauges of ``models`` show the sums over all engines, also of those that come later."""
        metrics = self._metrics
        shown: list[tuple[Gauge, Callable[[EngineLink, str], int]]] = [
            (metrics.slots, lambda link, model: link.models[model].slots),
            (metrics.streams_slack, EngineLink.slack),
            (metrics.prompts_encoding, EngineLink.encoding),
            (metrics.streams_active, lambda link, model: link.load(model).active),
            (metrics.streams_waiting, lambda link, model: link.load(model).waiting),
            (metrics.streams_limit, lambda link, model: link.load(model).most_listened),
        ]
        for model in models:
            for gauge, of in shown:
                gauge.labels(model).set_function(partial(self._sum, of, model))

    def _sum(self, of: Callable[[EngineLink, str], int], model: str) -> int:
        return sum(of(link, model) for link in self._links() if model in link.models)


def _digests(link: EngineLink) -> frozenset[tuple[str, str]]:
    """Return the names of an engine's models, with the digests of their files."""
    return frozenset((model.id, model.digest) for model in link.models.values())


def _cut_off(told: str) -> ApiError:
    return ApiError(503, "cut_off", told, close_code=1001)
