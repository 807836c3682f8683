"""One machine: the real scheduler, capacity and admission, stepped on a clock that is not the wall's."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from whispergpt.benchmarks.simulation.agenda import Agenda, Event
from whispergpt.benchmarks.simulation.desk import Desk, PromptWork
from whispergpt.benchmarks.simulation.playing import Playing
from whispergpt.benchmarks.simulation.profile import Profile
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.messages import ModelInfo, Pace, StreamPlan
from whispergpt.engine.streams.capacity import Capacity, StepCost
from whispergpt.engine.streams.scheduler import Scheduler, Stream
from whispergpt.server.access.caller import Visit
from whispergpt.server.admission.admission import Admission
from whispergpt.server.errors import ApiError
from whispergpt.server.link.engine_handles import PromptHandle
from whispergpt.server.link.engine_link import EngineLink
from whispergpt.server.link.places import Places
from whispergpt.server.settings import Settings

MODEL = "speech"
_DOZE = 0.001
"""The worker sleeps in whole milliseconds."""
_NEAR_SECONDS = 0.1
"""Of lead at the end of some steps, were they for others: with less, a stream's frames are told one by one."""
_AT_ONCE = 1e-9


@dataclass(frozen=True)
class Costs:
    """What machines of one kind need: the curves, looked up by all of them."""

    profile: Profile
    step: StepCost
    turn: StepCost

    @classmethod
    def of(cls, profile: Profile) -> Costs:
        return cls(profile, profile.step_cost(), profile.turn_cost())


@dataclass
class _Burst:
    """Steps of the same streams one after the other, ``seconds`` each; ``done`` of ``count`` are accounted for."""

    began: float
    seconds: float
    streams: list[Playing]
    count: int
    done: int = 0

    def over_by(self, now: float) -> int:
        """Steps that have ended."""
        return min(self.count, int((now - self.began + _AT_ONCE) / self.seconds))

    @property
    def ends(self) -> float:
        return self.began + self.count * self.seconds


class Machine:
    """What ``Admission`` sees as an engine's link, and the region as a server.

    Args:
        costs: of its kind.
        settings: of the server, those that admission reads.
        chunk: frames that one decision of the scheduler stands for; 1 asks it before every step, as a server does. With
            more, streams are stepped so many frames at a time and end up to so many further ahead.
        seed: of the unevenness of its steps.

    Attributes:
        state: ``starting`` and ``draining`` ones get nobody new.
        busy, steps, frames: seconds stepped, and what was made in them.
    """

    def __init__(self, number: int, costs: Costs, settings: Settings, agenda: Agenda, chunk: int, seed: str) -> None:
        self.number = number
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
        self._live: dict[Stream, Playing] = {}
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
        """For ``Admission``, which asks for ``live``, ``places``, ``most_listened`` and ``start_stream`` alone."""
        return cast(EngineLink, self)

    def live(self, model: str | None = None, pace: Pace | None = None) -> list[Playing]:
        """Streams that play or wait: all of one model, and in real time."""
        return list(self._live.values())

    def most_listened(self, model: str) -> int:
        """Real-time streams that the machine bears, as its last turn had it."""
        return self._limit

    def start_stream(self, prompt: PromptHandle, plan: StreamPlan, visit: Visit) -> Playing:
        """Put a stream in line for a slot."""
        self._ids += 1
        playing = Playing(self._ids, self.model, plan, self._agenda.now)
        self._live[playing.stream] = playing
        self.scheduler.add(playing.stream)
        self._wake()
        return playing

    # --- as the region sees a server

    @property
    def slack(self) -> int:
        """Real-time streams that could still be taken: the limit without those that play or wait, or will."""
        return self._limit - len(self._live) - self.places.kept()

    def connect(self, lost: Callable[[], None]) -> None:
        """One more session, which is told by ``lost`` should this machine die.

        Raises:
            ApiError: there are too many, or nothing answers.
        """
        if self.state == "gone":  # whoever sent them here has not noticed yet
            raise ApiError(503, "unreachable", "There is nobody at this address.")
        self.admission.enter_session()
        self.sessions[lost] = None

    def disconnect(self, lost: Callable[[], None]) -> None:
        """One session less."""
        if lost in self.sessions:
            del self.sessions[lost]
            self.admission.leave_session()

    def append(self, prompt: PromptWork, frames: float, seconds: float) -> None:
        """More of a prompt, to be worked on beside the steps."""
        self._work_on_prompts()
        self.desk.append(prompt, frames, seconds)
        self._expect_prompt()

    def commit(self, prompt: PromptWork, done: Callable[[], None]) -> None:
        """Somebody waits for all of a prompt."""
        self._work_on_prompts()
        self.desk.commit(prompt, self._agenda.now, done)
        self._wake()

    def drop(self, prompt: PromptWork) -> None:
        """Nobody wants a prompt any more."""
        self._work_on_prompts()
        self.desk.drop(prompt)
        self._expect_prompt()

    def catch_up(self) -> None:
        """Account for every step that has ended by now: whoever leaves has heard those."""
        self._settle()

    def leave(self, playing: Playing) -> None:
        """Cancel a stream; it is out before the next step."""
        self._settle()
        if self._live.pop(playing.stream, None) is not None:
            self.scheduler.end(playing.stream, "cancelled")
            self._wake()

    def die(self) -> None:
        """Stop at once; all sessions are lost."""
        self._settle()
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
        """There is something to do: once the step under way has ended, or now."""
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
        """What ``Worker.turn`` does: who may play, who is stepped, and how long to sleep otherwise."""
        self._turn_due = None
        self._settle()
        through = self._worked()
        self._burst = None  # from here on, who wakes this machine is served in this turn
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
        """Where decisions stand for several frames, all machines' streams are stepped once in so many frames' time."""
        if self._chunk == 1:
            return 0.0
        period = self._chunk / FRAME_RATE
        return period - self._clock % period

    def _step(self, streams: list[Playing]) -> None:
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
        # The mean of as many draws as the decision stands for steps.
        uneven = self._mean + (drawn - self._mean) / math.sqrt(self._chunk)
        beside = profile.prompts_slow if len(self.desk) else 1.0
        return self._costs.turn.of(streams) * uneven * beside / profile.left(len(self._live))

    def _settle(self) -> None:
        """Count the frames of the steps that have ended, and tell who hears them."""
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
                stream.generated += made - 1  # of these it never ran dry: ``advance`` counts the last
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
        """Do what was done since the last look, at the speed that there was; returns what is to be called for it."""
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
