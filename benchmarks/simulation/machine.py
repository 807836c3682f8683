"""A simulated machine: the real scheduler, capacity and admission on a simulated clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from whispergpt.benchmarks.simulation.agenda import Agenda, Event
from whispergpt.benchmarks.simulation.desk import Desk, PromptWork
from whispergpt.benchmarks.simulation.profile import Profile
from whispergpt.benchmarks.simulation.stream import SimulatedStream
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.stream_plan import Pace, StreamPlan
from whispergpt.engine.streams.capacity import Capacity, StepCost
from whispergpt.engine.streams.scheduler import Scheduler, Stream
from whispergpt.server.access.caller import Visit
from whispergpt.server.admission.admission import Admission
from whispergpt.server.errors import ApiError
from whispergpt.server.link.devices import EngineDevice
from whispergpt.server.link.engine_link import EngineLink
from whispergpt.server.link.places import Places
from whispergpt.server.link.prompt_handle import PromptHandle
from whispergpt.server.settings import Settings

MODEL = "speech"
_DOZE = 0.001
"""Unit of the worker's sleep in seconds."""
_NEAR_SECONDS = 0.1
"""Lead in seconds below which a stream's frames are reported one by one."""
_AT_ONCE = 1e-9


@dataclass(frozen=True)
class Costs:
    """Cost curves of one kind of machine, shared by all its machines."""

    profile: Profile
    step: StepCost
    turn: StepCost

    @classmethod
    def of(cls, profile: Profile) -> Costs:
        return cls(profile, profile.step_cost(), profile.turn_cost())


@dataclass
class _Burst:
    """Consecutive steps of the same streams, ``seconds`` each; ``done`` of ``count`` are accounted for."""

    began: float
    seconds: float
    streams: list[SimulatedStream]
    count: int
    done: int = 0

    def over_by(self, now: float) -> int:
        """Return the number of steps that have ended by ``now``."""
        return min(self.count, int((now - self.began + _AT_ONCE) / self.seconds))

    @property
    def ends(self) -> float:
        return self.began + self.count * self.seconds


class Machine:
    """Simulated server, which serves as the engine link of ``Admission``.

    Args:
        costs: costs of this kind of machine.
        settings: settings of the server; admission reads some of them.
        chunk: frames per decision of the scheduler. With 1 it decides before every step, as in a server. With more,
            streams are stepped this many frames at a time and may end that much further ahead.
        seed: seed of the variation of step times.

    Attributes:
        state: ``starting`` and ``draining`` machines get no new listeners.
        busy, steps, frames: seconds spent in steps, their number, and the frames made.
    """

    def __init__(self, number: int, costs: Costs, settings: Settings, agenda: Agenda, chunk: int, seed: str) -> None:
        self.number, self.device = number, EngineDevice()
        self.state: Literal["starting", "ready", "draining", "gone"] = "starting"
        self.admission, self.desk, self.places = Admission(settings), Desk(), Places()
        self.capacity = Capacity({MODEL: costs.step}, settings.max_load)
        self.scheduler = Scheduler(settings.max_streams, lambda: self._clock)
        self.model = ModelInfo(MODEL, 0, 0, FRAME_RATE, {}, "", "", settings.max_streams, resumable=True)
        self.sessions: dict[Callable[[], None], None] = {}
        self.busy, self.steps, self.frames = 0.0, 0, 0
        self._costs, self._agenda, self._chunk = costs, agenda, chunk
        self._draw = random.Random(f"{seed}/{number}")
        self._mean = sum(costs.profile.spread) / len(costs.profile.spread)
        self._clock = agenda.now
        self._live: dict[Stream, SimulatedStream] = {}
        self._burst: _Burst | None = None
        self._turn_at = math.inf
        self._turn_due: Event | None = None
        self._prompt_due: Event | None = None
        self._worked_until = agenda.now
        self._limit = settings.max_streams
        self._ids = 0

    # --- as admission sees an engine's link

    @property
    def link(self) -> EngineLink:
        """This machine as ``Admission`` sees it: ``device``, ``live``, ``places``, ``most_listened`` and others."""
        return cast(EngineLink, self)

    def live(self, model: str | None = None, pace: Pace | None = None) -> list[SimulatedStream]:
        """Return the streams that play or wait; all have the same model and the real-time pace."""
        return list(self._live.values())

    def most_listened(self, model: str) -> int:
        """Return the limit of real-time streams as of the machine's last turn."""
        return self._limit

    def start_stream(self, prompt: PromptHandle, plan: StreamPlan, visit: Visit) -> SimulatedStream:
        """Queue a stream for a slot and return its handle."""
        self._ids += 1
        playing = SimulatedStream(self._ids, self.model, plan, self._agenda.now)
        self._live[playing.stream] = playing
        self.scheduler.add(playing.stream)
        self._wake()
        return playing

    # --- as the region sees a server

    @property
    def slack(self) -> int:
        """Real-time streams that still fit: the limit less playing, waiting and reserved ones."""
        return self._limit - len(self._live) - self.places.kept()

    def connect(self, lost: Callable[[], None]) -> None:
        """Open a session; ``lost`` is called if this machine dies.

        Raises:
            ApiError: there are too many sessions, or the machine is dead.
        """
        if self.state == "gone":  # the router has not noticed yet
            raise ApiError(503, "unreachable", "There is no server at this address.")
        self.admission.enter_session()
        self.sessions[lost] = None

    def disconnect(self, lost: Callable[[], None]) -> None:
        """Close a session."""
        if lost in self.sessions:
            del self.sessions[lost]
            self.admission.leave_session()

    def append(self, prompt: PromptWork, frames: float, seconds: float) -> None:
        """Add work to a prompt, which is done beside the steps."""
        self._work_on_prompts()
        self.desk.append(prompt, frames, seconds)
        self._expect_prompt()

    def commit(self, prompt: PromptWork, done: Callable[[], None]) -> None:
        """Mark a prompt as complete and awaited."""
        self._work_on_prompts()
        self.desk.commit(prompt, self._agenda.now, done)
        self._wake()

    def drop(self, prompt: PromptWork) -> None:
        """Discard a prompt."""
        self._work_on_prompts()
        self.desk.drop(prompt)
        self._expect_prompt()

    def leave(self, playing: SimulatedStream) -> None:
        """Cancel a stream before the next step."""
        self.catch_up()
        if self._live.pop(playing.stream, None) is not None:
            self.scheduler.end(playing.stream, "cancelled")
            self._wake()

    def die(self) -> None:
        """Stop at once; all sessions are lost."""
        self.catch_up()
        self._live.clear()
        self.state, self._burst = "gone", None
        for event in (self._turn_due, self._prompt_due):
            if event is not None:
                event.call_off()
        lost = list(self.sessions)
        self.sessions.clear()
        for tell in lost:
            tell()

    # --- the worker's loop

    def _wake(self) -> None:
        """Schedule a turn at the end of the current step, or now if there is none."""
        if self._burst is None:
            self._turn(self._agenda.now)
            return
        begun = math.ceil((self._agenda.now - self._burst.began - _AT_ONCE) / self._burst.seconds)
        self._burst.count = min(self._burst.count, max(1, self._burst.done, begun))
        self._turn(self._burst.ends)

    def _turn(self, at: float) -> None:
        if self._turn_due is not None:
            if self._turn_at == at:
                return
            self._turn_due.call_off()
        self._turn_at, self._turn_due = at, self._agenda.at(at, self._take_turn)

    def _take_turn(self) -> None:
        """Take a turn as ``Worker.turn`` does: admit streams, step the runnable ones, or sleep."""
        self._turn_due = None
        self.catch_up()
        through = self._worked()
        self._burst = None  # from here on, a wake-up is handled in this turn
        for done in through:
            done()
        scheduler = self.scheduler
        self._limit = self.capacity.most(MODEL, {MODEL: scheduler.listened}, scheduler.slots)
        scheduler.most_listened, scheduler.prompts_wait = self._limit, self.desk.awaited
        for stream in scheduler.admit():
            self._live[stream].begins()
        runnable = scheduler.runnable()
        if runnable:
            self._step([self._live[stream] for stream in runnable])
        elif (due := scheduler.next_due()) is not None:
            self._turn(self._clock + max(_DOZE, _DOZE * int(max(due, self._until_chunk()) / _DOZE)))
        self._expect_prompt()

    def _until_chunk(self) -> float:
        """Return the seconds until the next decision; all machines decide at multiples of ``chunk`` frames."""
        if self._chunk == 1:
            return 0.0
        period = self._chunk / FRAME_RATE
        return period - self._clock % period

    def _step(self, streams: list[SimulatedStream]) -> None:
        seconds = self._step_seconds(len(streams))
        left = min(playing.frames_left for playing in streams)
        count = max(1, min(self._chunk, left, int(self._chunk / FRAME_RATE / seconds)))
        for playing in streams:
            playing.close = count > 1 and playing.stream.lead(self._clock) < count * seconds + _NEAR_SECONDS
        self._burst = _Burst(self._clock, seconds, streams, count)
        self._turn(self._burst.ends)

    def _step_seconds(self, streams: int) -> float:
        profile = self._costs.profile
        drawn = self._draw.choice(profile.spread)
        # Spread of the mean of ``chunk`` draws.
        uneven = self._mean + (drawn - self._mean) / math.sqrt(self._chunk)
        beside = profile.prompts_slow if len(self.desk) else 1.0
        return self._costs.turn.of(streams) * uneven * beside / profile.left(len(self._live))

    def catch_up(self) -> None:
        """Count the frames of the steps that have ended by now, and pass them to their listeners."""
        burst, now = self._burst, self._agenda.now
        self._clock = now
        if burst is None or (ended := burst.over_by(now)) <= burst.done:
            return
        first, burst.done = burst.done, ended
        at = [burst.began + (step + 1) * burst.seconds for step in range(first, ended)]
        for playing in burst.streams:
            stream = playing.stream
            if stream not in self._live:  # it left meanwhile
                continue
            for when in at if playing.close else at[-1:]:
                made = 1 if playing.close else len(at)
                self._clock = when
                stream.generated += made - 1  # the stream did not run dry in these steps; ``advance`` counts the last
                self.scheduler.advance(stream)
                self.frames += made
                if stream.status == "completed":
                    del self._live[stream]
                playing.made(made, when)
        self._clock = now
        self.steps, self.busy = self.steps + len(at), self.busy + len(at) * burst.seconds
        for _ in at:
            self.capacity.observe(MODEL, len(burst.streams), burst.seconds)

    # --- prompts

    def _prompt_speed(self) -> float:
        profile = self._costs.profile
        beside = 1.0 if self._burst is None else profile.prompts_share
        return beside * profile.left(len(self._live))

    def _worked(self) -> list[Callable[[], None]]:
        """Account for the prompt work since the last call, and return the callbacks of finished prompts."""
        passed, self._worked_until = self._agenda.now - self._worked_until, self._agenda.now
        return self.desk.work(passed * self._prompt_speed()) if len(self.desk) else []

    def _work_on_prompts(self) -> None:
        for done in self._worked():
            done()

    def _expect_prompt(self) -> None:
        if self._prompt_due is not None:
            self._prompt_due.call_off()
        self._prompt_due = None
        if len(self.desk):
            self._prompt_due = self._agenda.after(self.desk.due_in / self._prompt_speed(), self._prompt_through)

    def _prompt_through(self) -> None:
        self._prompt_due = None
        self._work_on_prompts()
        self._expect_prompt()
