"""A simulated listener: finds a machine, sends a prompt, listens, and moves to another machine if that one dies."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import cast

from whispergpt.benchmarks.simulation.agenda import Agenda, Event
from whispergpt.benchmarks.simulation.desk import PromptWork
from whispergpt.benchmarks.simulation.machine import MODEL, Machine
from whispergpt.benchmarks.simulation.profile import Profile
from whispergpt.benchmarks.simulation.router import Router
from whispergpt.benchmarks.simulation.stream import SimulatedStream
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.engine import SNAPSHOT_EVERY
from whispergpt.engine.playback_clock import BUFFER_SECONDS, PlaybackClock
from whispergpt.engine.stream_plan import SamplingParams, StreamPlan
from whispergpt.load.plan import Visit
from whispergpt.load.record import ListenerRecord, Outcome
from whispergpt.server.access.caller import Caller
from whispergpt.server.errors import ApiError
from whispergpt.server.link.places import Place
from whispergpt.server.link.prompt_handle import PromptHandle

PIECE_SECONDS = 0.1
"""Length of a live prompt's pieces; one piece is left to be encoded at the commit."""
SPOKEN_SECONDS = 1.0
"""Seconds of a live prompt that are added to the desk at a time."""
FIRST_PAUSE, LONGEST_PAUSE, PATIENCE_SECONDS = 0.1, 2.0, 60.0
"""First and longest pause between reconnections, doubled after each, and their time limit, as in the Python client."""


class Listener:
    """Listener of one visit, with its record.

    Args:
        queue_seconds: longest wait for a slot.
        tries: machines to ask before a refusal counts.

    Attributes:
        moves: number of moves to another machine.
        lead_at_loss: seconds of audio left to play at each loss of a machine.
    """

    def __init__(
        self, visit: Visit, agenda: Agenda, router: Router, profile: Profile, queue_seconds: float, tries: int
    ) -> None:
        self.record = ListenerRecord(visit, PlaybackClock(BUFFER_SECONDS), agenda.now)
        self.moves = 0
        self.lead_at_loss: list[float] = []
        self._agenda, self._router, self._profile = agenda, router, profile
        self._queue_seconds, self._tries = queue_seconds, tries
        self._frames = math.ceil(visit.seconds * FRAME_RATE)
        self._got = 0
        self._prompt = PromptWork()
        self._machine: Machine | None = None
        self._playing: SimulatedStream | None = None
        self._place: Place | None = None
        self._timers: list[Event] = []
        self._pause, self._try_until = FIRST_PAUSE, 0.0

    @property
    def over(self) -> bool:
        return self.record.outcome not in ("waiting", "playing")

    # --- a visit

    def come(self) -> None:
        """Choose a machine and begin the prompt; a machine without room refuses its first part."""
        told = "no machine is ready"
        asked: list[Machine] = []
        while len(asked) < self._tries and (machine := self._router.choose(asked)) is not None:
            asked.append(machine)
            try:
                self._connect(machine)
                machine.admission.require_room(machine.link, machine.model, "realtime")
            except ApiError as refusal:
                self._close()
                told = str(refusal)
                continue
            self._prompt = PromptWork()
            machine.append(self._prompt, 0.0, self._profile.prompt_least)
            if self.record.visit.live:
                self._speak(machine)
            else:
                self._send(machine, self.record.visit.prompt_seconds)
                self._commit(machine)
            return
        self._end("refused", told)

    def _speak(self, machine: Machine) -> None:
        """Send the prompt in pieces at its own pace, and commit it with the last piece."""
        whole = self.record.visit.prompt_seconds
        before, spoken = max(0.0, whole - PIECE_SECONDS), 0.0
        while spoken < before:
            piece = min(SPOKEN_SECONDS, before - spoken)
            spoken += piece
            self._later(spoken, partial(self._send, machine, piece))
        self._later(whole, partial(self._send, machine, whole - before))
        self._later(whole, partial(self._commit, machine))

    def _send(self, machine: Machine, seconds: float) -> None:
        machine.append(self._prompt, seconds * FRAME_RATE, seconds * self._profile.prompt_rate)

    def _commit(self, machine: Machine) -> None:
        self.record.asked = self._agenda.now
        try:
            self._place = machine.admission.keep_place(machine.link, machine.model, "realtime")
        except ApiError as refusal:
            self._end("refused", str(refusal))
            return
        machine.commit(self._prompt, lambda: self._prompt_made(machine, self._plan(0)))

    def _plan(self, got: int) -> StreamPlan:
        """Return the engine's plan for a listener that has ``got`` frames: it begins at the last resume token."""
        first = got // SNAPSHOT_EVERY * SNAPSHOT_EVERY
        sampling = SamplingParams(self.record.visit.seed, 1.0, 0, 1.0)
        resumed = self.moves > 0
        return StreamPlan(sampling, self._frames - first, "realtime", first, got - first, True, resumed)

    def _prompt_made(self, machine: Machine, plan: StreamPlan) -> None:
        if machine is not self._machine or self.over:
            return  # the machine died or the listener left meanwhile
        prompt = cast(PromptHandle, machine)  # admission only uses its model
        try:
            handle = machine.admission.start_stream(machine.link, prompt, plan, Caller(), self._place)
        except ApiError as refusal:
            self._refused_here(str(refusal))
            return
        self._place = None
        self._playing = cast(SimulatedStream, handle)
        self._playing.on_begin, self._playing.on_frames = self._forget_timers, self._hear
        self._later(self._queue_seconds, self._waited_in_vain)

    def _waited_in_vain(self) -> None:
        machine, playing = self._machine, self._playing
        if machine is not None and playing is not None and playing.waits:
            machine.leave(playing)
            self._refused_here(f"no stream of '{MODEL}' ended within {self._queue_seconds:g} s")

    def _hear(self, frames: int, at: float) -> None:
        if self.over:
            return
        record = self.record
        self._got += frames
        if record.first_audio is None:
            record.first_audio, record.outcome = at, "playing"
            if record.visit.ends != "end":
                self._agenda.at(at + record.visit.stays, self._leave)
        record.clock.arrive(at, frames / FRAME_RATE)
        if self._got >= self._frames:
            record.clock.end(at, complete=True)
            # The slot is free; the connection closes when the buffered audio has played.
            record.outcome, record.ended = "completed", at + record.clock.lead(at)
            self._playing = None
            self._agenda.at(record.ended, self._close)

    def _leave(self) -> None:
        if self._machine is not None:
            self._machine.catch_up()
        if not self.over:
            self._end("left", None)

    # --- the death of a machine

    def lose(self) -> None:
        """Handle the machine's death: resume on another machine from the last token, if there is one."""
        self._forget_timers()
        self._machine, self._playing, self._place = None, None, None
        if self.over:
            return
        now = self._agenda.now
        if self.record.first_audio is None:
            self._end("failed", "the machine died before the first resume token")
            return
        self.moves += 1
        self.lead_at_loss.append(self.record.clock.lead(now))
        self._pause, self._try_until = FIRST_PAUSE, now + PATIENCE_SECONDS
        self._move()

    def _move(self) -> None:
        if self.over:
            return
        machine = self._router.choose([])
        if machine is None:
            self._move_later("no machine is ready")
            return
        try:
            self._connect(machine)
            self._place = machine.admission.keep_place(machine.link, machine.model, "realtime")
        except ApiError as refusal:
            self._refused_here(str(refusal))
            return
        plan = self._plan(self._got)
        self._prompt = PromptWork()
        machine.append(self._prompt, self._profile.recall_frames, self._profile.recall_seconds)
        machine.commit(self._prompt, lambda: self._prompt_made(machine, plan))

    def _move_later(self, told: str) -> None:
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        if self._agenda.now + pause > self._try_until:
            self._end("failed", told)
            return
        self._later(pause, self._move)

    # --- its place

    def _connect(self, machine: Machine) -> None:
        machine.connect(self.lose)
        self._machine = machine

    def _refused_here(self, told: str) -> None:
        if self.moves:
            self._close()
            self._move_later(told)
        else:
            self._end("refused", told)

    def _close(self) -> None:
        """Release everything held at the machine."""
        self._forget_timers()
        machine, self._machine = self._machine, None
        if self._place is not None:
            self._place.give_back()
            self._place = None
        if machine is None:
            return
        machine.drop(self._prompt)
        if self._playing is not None:
            machine.leave(self._playing)
            self._playing = None
        machine.disconnect(self.lose)

    def _end(self, outcome: Outcome, told: str | None) -> None:
        record, now = self.record, self._agenda.now
        record.outcome, record.reason, record.ended = outcome, told, now
        record.clock.end(now, complete=False)
        if outcome == "refused":
            record.answered = now - (record.came if record.asked is None else record.asked)
        self._close()

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self._timers.append(self._agenda.after(seconds, act))

    def _forget_timers(self) -> None:
        for timer in self._timers:
            timer.call_off()
        self._timers.clear()
