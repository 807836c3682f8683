"""Link to one run of the engine: commands go out, and events come in for prompts and streams."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial

from whispergpt.engine.messages.commands import (
    Acknowledge,
    AppendPrompt,
    Command,
    Drain,
    OpenPrompt,
    ResumePrompt,
    StartStream,
)
from whispergpt.engine.messages.events import Event, LinkLost, Load, ModelInfo
from whispergpt.engine.messages.links import first_id
from whispergpt.engine.stream_plan import Pace, Snapshot, StreamPlan
from whispergpt.server.access.caller import Caller, Visit
from whispergpt.server.errors import ApiError, engine_lost
from whispergpt.server.ledger import Number, OwnLedger
from whispergpt.server.link.devices import EngineDevice
from whispergpt.server.link.engine_process import EngineProcess
from whispergpt.server.link.engine_socket import EngineRun
from whispergpt.server.link.engine_start import loaded_models
from whispergpt.server.link.link_work import LinkWork
from whispergpt.server.link.live_streams import LinkShare, LiveStream
from whispergpt.server.link.places import Places
from whispergpt.server.link.prompt_handle import PromptHandle
from whispergpt.server.link.stream_handle import StreamHandle
from whispergpt.server.observe import logs
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.settings import Settings

log = logs.get("server.engine")
_LOOK_SECONDS = 1.0
_ACKNOWLEDGE_SECONDS = 0.05
"""Seconds for which acknowledgements are gathered; a stream's credit lasts far longer."""
_HANGS = "The engine hangs and is being restarted; try again in a moment."


class EngineLink:
    """Starts the engine, then dispatches its events until it dies. The event loop only passes messages on.

    Args:
        process: the engine's process, if it has been started already.
        share: what it shares with the links of other front ends; None for a server that is one process.

    Attributes:
        device: of the engine.
        models: by name; empty until the engine is ready.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        device: EngineDevice,
        process: EngineRun | None = None,
        share: LinkShare | None = None,
    ) -> None:
        self.device = device
        self.stall_seconds, self.hold_seconds = settings.stall_seconds, settings.pause_seconds
        self.models: dict[str, ModelInfo] = {}
        ledger = OwnLedger() if share is None else share.ledger
        self.places = Places(ledger, device.number)
        self._encoding: Callable[[str], Number] = partial(ledger.number, "prompts encoding", str(device.number))
        self._work = LinkWork(metrics, self._encoding, None if share is None else share.streams)
        self.ended = asyncio.Event()
        """Set once the engine is lost."""
        self.link_lost: Callable[[int], None] = lambda link: None
        """Called with the number of a link that the engine has closed."""
        self._settings, self._metrics = settings, metrics
        self._process = process or EngineProcess(settings, device)
        self._loads: dict[str, Load] = {}
        self._acknowledged: dict[int, int] = {}
        """Frames taken of each stream, not told to the engine yet."""
        self._ids = itertools.count(first_id(0 if share is None else share.link))
        self._last_event = time.monotonic()
        self._lost: ApiError | None = None

    async def start(self) -> None:
        """Start the process and wait until every model has generated.

        Raises:
            EngineStartError: it could not load, died on the way or took longer than ``start_seconds``.
        """
        if self._process.pid is None:
            await self._process.start()
        if self._process.pid is not None:
            self._metrics.processes.engines.add(self._process.pid)
        self._begin(await loaded_models(self._process, self._settings.start_seconds))

    def _begin(self, models: list[ModelInfo]) -> None:
        self.models = {model.id: model for model in models}
        self._metrics.expect(self.models)
        self._loads = {model.id: Load(model.id, 0, 0, model.slots) for model in models}

    async def run(self) -> str:
        """Dispatch events until the engine dies; then fail its prompts and streams, and return how it died."""
        death = asyncio.create_task(self._process.wait())
        reader = asyncio.create_task(self._read_events())
        watch = asyncio.create_task(self._watch())
        try:
            await asyncio.wait([death, reader], return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                self._process.kill()
                log.error("the engine broke the protocol", error=repr(reader.exception()))
            return await death
        finally:
            for task in (watch, reader, death):
                task.cancel()
            self._fail_all()

    async def stop(self, drain_seconds: float = 0.0) -> None:
        """Let streams end within ``drain_seconds``, then end the process."""
        if drain_seconds > 0 and not self._lost:
            self.post(Drain())
            await asyncio.wait([asyncio.create_task(self._process.wait())], timeout=drain_seconds)
        self._fail_all()
        await self._process.close()
        if self._process.pid is not None:
            self._metrics.processes.engines.remove(self._process.pid)

    def cut_off(self, error: ApiError, resumable: bool = False) -> None:
        """End every stream with ``error``, or those alone that can be resumed."""
        for stream in self._work.streams():
            if stream.plan.snapshots or not resumable:
                stream.fail(error)

    # --- for the routes

    @property
    def pid(self) -> int | None:
        """Return the engine's pid."""
        return self._process.pid

    @property
    def lost(self) -> bool:
        """Return whether the engine is gone, with its prompts and streams."""
        return self._lost is not None

    def live(self, model: str | None = None, pace: Pace | None = None) -> Sequence[LiveStream]:
        """Return the streams of all front ends that play or wait: all, or those of one model and pace."""
        return self._work.live(self.models, model, pace)

    def most_listened(self, model: str) -> int:
        """Return how many real-time streams of a model the engine can play, as last measured."""
        return self._loads[model].most_listened

    def load(self, model: str) -> Load:
        """Return the streams of a model, and how many it can play, as the engine last told; zeros once it is lost."""
        return Load(model, 0, 0, 0) if self._lost else self._loads[model]

    def encoding(self, model: str) -> int:
        """Return the prompts of a model that are received and encoded, and cannot be continued yet."""
        return int(self._encoding(model).total)

    def room(self, model: str, pace: Pace) -> tuple[int, int]:
        """Return how much room there is for one more stream; the greater, the better.

        The first number is the slots that are free, or, in real time, the streams that fit if these are fewer. Prompts
        that are being recorded take a place too. It is negative where streams wait. Where two engines have equally
        much, the second number decides: less the streams of all models.
        """
        recorded = self._work.recorded()
        taken = self.places.kept(model) + recorded.count(model)
        left = self.models[model].slots - len(self.live(model)) - taken
        if pace == "realtime":
            taken = self.places.kept(model, pace) + recorded.count(model)
            left = min(left, self.most_listened(model) - len(self.live(model, pace)) - taken)
        return left, -len(self.live()) - self.places.kept() - len(recorded)

    def slack(self, model: str) -> int:
        """Return how many more real-time streams of a model fit, beside kept places; negative where some wait, 0 of an
        engine that is gone."""
        if self._lost:
            return 0
        time_left = self.most_listened(model) - len(self.live(model, "realtime")) - self.places.kept(model, "realtime")
        # `fast` streams take slots, but no time from real-time ones: a wait for a slot says nothing about time.
        slots_left = max(0, self.models[model].slots - len(self.live(model)) - self.places.kept(model))
        return min(time_left, slots_left)

    def open_prompt(self, model: ModelInfo, caller: Caller, recorded: bool = False) -> PromptHandle:
        """Open a prompt of ``caller``; encoded prompts are not shared between callers.

        Args:
            recorded: whether its audio comes as it is recorded, so that no place is kept for its stream yet.

        Raises:
            ApiError: the engine is gone.
        """
        prompt = self._expect_prompt(model, recorded)
        self.post(OpenPrompt(prompt.prompt_id, model.id, caller.identity, caller.long_work.total > 0))
        return prompt

    def resume_prompt(self, model: ModelInfo, snapshot: Snapshot, owner: str) -> PromptHandle:
        """Have a prompt of ``owner`` made of a stream's snapshot.

        Raises:
            ApiError: the engine is gone.
        """
        prompt = self._expect_prompt(model)
        self.post(ResumePrompt(prompt.prompt_id, model.id, snapshot, owner))
        return prompt

    def start_stream(
        self,
        prompt: PromptHandle,
        plan: StreamPlan,
        visit: Visit,
    ) -> StreamHandle:
        """Ask for a continuation of a committed prompt, or of a resumed one from the plan's ``first_frame``.

        Raises:
            ApiError: the engine is gone.
        """
        self._raise_if_lost()
        stream = StreamHandle(self, next(self._ids), prompt.model, plan, visit)
        self._work.add_stream(stream)
        self.post(StartStream(stream.stream_id, prompt.prompt_id, plan))
        return stream

    def _expect_prompt(self, model: ModelInfo, recorded: bool = False) -> PromptHandle:
        self._raise_if_lost()
        # Another engine may have described the model. One that is not here is refused by the engine.
        prompt = PromptHandle(self, next(self._ids), self.models.get(model.id, model), recorded)
        self._work.add_prompt(prompt)
        return prompt

    # --- for the handles

    def post(self, command: Command) -> None:
        """Queue a command; commands to a lost engine are dropped."""
        if not self._lost:
            self._process.post(command)

    def note(self, stream: StreamHandle) -> None:
        """Have other front ends see a stream as it is now."""
        self._work.note(stream)

    def acknowledge(self, stream_id: int, taken: int) -> None:
        """Say how many frames of a stream its reader has taken in all; one command says it for many readers."""
        if not self._acknowledged:
            asyncio.get_running_loop().call_later(_ACKNOWLEDGE_SECONDS, self._post_acknowledged)
        self._acknowledged[stream_id] = taken

    def _post_acknowledged(self) -> None:
        frames, self._acknowledged = self._acknowledged, {}
        self.post(Acknowledge(frames))

    async def send(self, command: AppendPrompt) -> None:
        """Send a command, waiting while the queue is full.

        Raises:
            ApiError: the engine is gone, or took nothing for ``stall_seconds``.
        """
        self._raise_if_lost()
        try:
            await asyncio.wait_for(self._process.send(command), self.stall_seconds)
        except TimeoutError:
            raise engine_lost(_HANGS) from None

    def forget_prompt(self, prompt_id: int) -> bool:
        """Forget a prompt; returns whether it was known."""
        return self._work.forget_prompt(prompt_id)

    def forget_stream(self, stream_id: int) -> bool:
        """Forget a stream; returns whether it ran."""
        return self._work.forget_stream(stream_id)

    # --- events

    async def _watch(self) -> None:
        """End an engine that has fallen silent; a healthy one sends a message every second."""
        late = 0
        while late < 2:  # twice, since after a stop of this process messages are still to be read
            await asyncio.sleep(_LOOK_SECONDS)
            silent = time.monotonic() - self._last_event
            late = late + 1 if silent >= self.stall_seconds else 0
        log.error("the engine hangs", silent_seconds=round(silent, 1))
        self._lost = engine_lost(_HANGS)
        self._process.kill()
        self._fail_all()  # now: the end of a process that hangs in a driver may not come

    async def _read_events(self) -> None:
        while True:
            event: Event | None = await self._process.receive()
            self._last_event = time.monotonic()
            while event is not None:
                self._dispatch(event)
                event = self._process.receive_now()

    def _dispatch(self, event: Event) -> None:
        match event:
            case Load():
                self._loads[event.model] = event
            case LinkLost():
                self.link_lost(event.link)
            case _:
                self._work.hear(event)

    def _raise_if_lost(self) -> None:
        if self._lost:
            raise self._lost

    def _fail_all(self) -> None:
        self._lost = self._lost or engine_lost()
        self._work.fail_all(self._lost)
        self.ended.set()
