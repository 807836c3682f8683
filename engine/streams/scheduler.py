"""The scheduler: streams wait for a slot, are paced by their listener's clock, and held by their reader's credit.

Every real-time stream has a *lead*: seconds of its audio that are made and not played yet. While a few of them have
too little, they are stepped alone: a step of few is shorter, and the others use their lead meanwhile. When many have
too little, all are stepped together, which makes most frames in a second. Streams with enough are stepped with all
others that are due within a frame's time: one step of thirty costs a third of thirty steps, and the time saved is for
prompts and new streams. While a committed prompt waits, streams that are well ahead wait too, unheard by their
listeners. The rest is for ``fast`` streams, which are made in real time while a prompt waits.

Plain bookkeeping without tensors, so that it can be read and tested by itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.messages import CREDIT_FRAMES, SamplingParams, StreamPlan
from whispergpt.engine.prompts.prompt import Prompt

LEAD_FRAMES = 2 * FRAME_RATE - 2
"""Frames that a real-time stream is kept ahead of its listener's playback clock. With frames that are made early
beside others it is 2 s ahead at most."""
SHORT_LEAD_SECONDS = 0.75
"""Lead in seconds that is enough while a prompt waits, which has the processors meanwhile."""
TOGETHER_SECONDS = 1 / FRAME_RATE
"""Seconds within which streams that are due soon are stepped with those due now: each step has a fixed cost."""
GRAIN_SECONDS = 0.001
"""Resolution of sleep in seconds: shorter waits are skipped."""
SAFE_LEAD_SECONDS = 0.5
"""Lead in seconds below which a stream goes before those with more, and before all ``fast`` ones."""
CATCH_UP = 2
"""Frames in a frame's time for a new stream with a safe lead, so that it leaves the rest of the time to others."""
FEW = 4
"""Divisor of the active streams: at most one in so many counts as few, and is stepped alone."""

Status = Literal["waiting", "playing", "completed", "cancelled", "failed"]


@dataclass(eq=False)
class Stream:
    """One continuation: its plan, and what changes while it plays.

    Attributes:
        credit: frames that it may be ahead of its reader; None for a reader who takes each as it comes.
        generated, acknowledged: frames that were made here, and that the reader has taken.
        sampling: how the next frame is drawn; the plan's until it is changed.
    """

    id: int
    prompt: Prompt
    plan: StreamPlan
    credit: int | None = CREDIT_FRAMES
    status: Status = "waiting"
    slot: int = -1
    generated: int = 0
    acknowledged: int = 0
    queued_at: float = field(default_factory=time.monotonic)
    first_frame_at: float | None = None
    held_at: float | None = None
    stepped_at: float = float("-inf")
    sampling: SamplingParams = field(init=False)

    def __post_init__(self) -> None:
        self.sampling = self.plan.sampling

    @property
    def next_frame(self) -> int:
        """Return the number of the next frame, counted from the stream's beginning, also on another server."""
        return self.plan.first_frame + self.generated

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "cancelled", "failed")

    def lead(self, now: float) -> float:
        """Return the seconds of audio that are made and not played yet; 0 before the first audible frame."""
        if self.first_frame_at is None:
            return 0.0
        played_until = now if self.held_at is None else self.held_at
        return (self.generated - self.plan.skipped) / FRAME_RATE - (played_until - self.first_frame_at)


class Scheduler:
    """Places streams into slots, lowest first, in their order; resumed streams come first.

    Args:
        slots: streams that play at once.
        clock: seconds, monotonic.
    """

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.slots, self._clock = slots, clock
        self.most_listened = slots
        """Real-time streams that may play at once; streams that play already are never ended by it."""
        self.prompts_wait = False
        """True while a committed prompt waits to be encoded."""
        self._by_slot: list[Stream | None] = [None] * slots
        self._waiting: deque[Stream] = deque()

    @property
    def active(self) -> int:
        return sum(s is not None for s in self._by_slot)

    @property
    def listened(self) -> int:
        """Return the number of real-time streams in slots, with held ones, which come back."""
        return sum(s is not None and s.plan.pace == "realtime" for s in self._by_slot)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def add(self, stream: Stream) -> None:
        """Queue a stream for the next free slot: behind all others, or before new ones if it is resumed."""
        place = sum(1 for other in self._waiting if other.plan.resumed) if stream.plan.resumed else len(self._waiting)
        self._waiting.insert(place, stream)

    def admit(self) -> list[Stream]:
        """Move waiting streams into free slots and return them; real-time ones that wait do not hold up `fast` ones."""
        placed: list[Stream] = []
        for slot, held in enumerate(self._by_slot):
            if held is None and self._waiting:
                hurried = self.listened < self.most_listened
                allowed = (s for s in self._waiting if hurried or s.plan.pace == "fast" or s.plan.promised)
                stream = next(allowed, None)
                if stream is None:
                    break
                self._waiting.remove(stream)
                stream.slot, stream.status = slot, "playing"
                self._by_slot[slot] = stream
                placed.append(stream)
        return placed

    def runnable(self) -> list[Stream]:
        """Return the streams that get their next frame now, in slot order; none where none is due."""
        now = self._clock()
        waits = [(s, self._due_in(s, now)) for s in self._by_slot if s is not None]
        if all(wait > GRAIN_SECONDS for _, wait in waits):
            return []
        due = [s for s, wait in waits if wait <= TOGETHER_SECONDS]
        listened = [s for s in due if s.plan.pace == "realtime"]
        urgent = [s for s in listened if s.lead(now) < SAFE_LEAD_SECONDS]
        if not urgent:
            return due
        return urgent if len(urgent) * FEW <= self.active else listened

    def next_due(self) -> float | None:
        """Return the seconds until a stream is due; 0 if one is now, None if none will be without a command."""
        now = self._clock()
        waits = [self._due_in(s, now) for s in self._by_slot if s is not None]
        soonest = min(waits, default=float("inf"))
        return None if soonest == float("inf") else max(0.0, soonest)

    def advance(self, stream: Stream) -> None:
        """Count one generated frame; a stream that has all its frames is completed and leaves its slot."""
        now = self._clock()
        if stream.first_frame_at is not None:
            stream.first_frame_at += max(
                0.0, -stream.lead(now)
            )  # a listener that ran dry waited that long, and goes on from here
        elif stream.generated >= stream.plan.skipped:
            stream.first_frame_at = now
        stream.generated += 1
        stream.stepped_at = now
        if stream.plan.frames is not None and stream.generated >= stream.plan.frames:
            self.end(stream, "completed")

    def hold(self, stream: Stream, held: bool) -> None:
        """Stop a stream, in its slot or its place in the queue, or let it go on."""
        if held and stream.held_at is None:
            stream.held_at = self._clock()
        elif not held and stream.held_at is not None:
            if stream.first_frame_at is not None:
                stream.first_frame_at += self._clock() - max(stream.held_at, stream.first_frame_at)
            stream.held_at = None

    def end(self, stream: Stream, status: Literal["completed", "cancelled", "failed"]) -> None:
        """Take a stream out of its slot, or of the queue, at once."""
        if stream.ended:
            return
        if stream.status == "waiting":
            self._waiting.remove(stream)
        else:
            self._by_slot[stream.slot] = None
        stream.status = status

    def _due_in(self, stream: Stream, now: float) -> float:
        """Return the seconds until the stream may be stepped; infinite while it is held or its reader is behind."""
        if stream.held_at is not None:
            return float("inf")
        if stream.credit is not None and stream.generated - stream.acknowledged >= stream.credit:
            return float("inf")
        if stream.plan.pace == "fast":
            return stream.stepped_at + 1 / FRAME_RATE - now if self.prompts_wait else 0.0
        if stream.first_frame_at is None:
            return 0.0
        wanted = SAFE_LEAD_SECONDS + (CATCH_UP - 1) * (now - stream.first_frame_at)
        full = SHORT_LEAD_SECONDS if self.prompts_wait else LEAD_FRAMES / FRAME_RATE
        above = stream.lead(now) + 1 / FRAME_RATE - min(wanted, full)
        return above if wanted > full else above / CATCH_UP
