"""The scheduler: streams wait for a slot, are paced by their listener's clock, and held by their reader's credit.

Every real-time stream has a *lead*: seconds of its audio that are made and not played yet. While a few of them have
too little, they are stepped alone: a step of few is shorter, and the others use their lead meanwhile. When many have
too little, all are stepped together, which makes most frames in a second. Streams with enough are stepped with all
others that are due within a frame's time: one step of thirty costs a third of thirty steps, and the time saved is for
prompts and new streams. While a committed prompt waits, streams that are well ahead wait too, unheard by their
listeners. The rest is for ``fast`` streams, which are made in real time while a prompt waits.

The numbers of all streams in slots are numpy columns (`columns.py`): a decision does not loop over streams. There are
no tensors here, so that the rules can be read and tested by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Literal

import numpy as np
import numpy.typing as npt

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.messages.links import CREDIT_FRAMES
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import StreamPlan
from whispergpt.engine.streams.columns import UNLIMITED, Columns, Seconds, SlotNumbers
from whispergpt.engine.streams.queue import StreamQueue

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
SHORT_OF_LEAD_SECONDS = 0.25
"""Lead in seconds below which a stream is short of audio: prompts give way to it."""
CATCH_UP = 2
"""Frames in a frame's time for a new stream with a safe lead, so that it leaves the rest of the time to others."""
FEW = 4
"""Divisor of the active streams: at most one in so many counts as few, and is stepped alone."""

Status = Literal["waiting", "playing", "completed", "cancelled", "failed"]


class Stream:
    """One continuation: its plan, and what changes while it plays.

    Args:
        credit: frames that it may be ahead of its reader; None for a reader who takes each as it comes.
        queued_at: time of its arrival, by default now.

    Attributes:
        sampling: how the next frame is drawn; the plan's until it is changed.
    """

    def __init__(
        self,
        id: int,
        prompt: Prompt,
        plan: StreamPlan,
        credit: int | None = CREDIT_FRAMES,
        queued_at: float | None = None,
    ) -> None:
        self.id, self.prompt, self.plan, self.sampling = id, prompt, plan, plan.sampling
        self.queued_at = time.monotonic() if queued_at is None else queued_at
        self.status: Status = "waiting"
        self.slot = -1
        self._columns, self._place = Columns.of(id, plan, credit), 0

    def move(self, columns: Columns, place: int) -> None:
        """Keep the stream's numbers at another place from now on."""
        columns.put(place, self._columns, self._place)
        self._columns, self._place = columns, place

    @property
    def credit(self) -> int | None:
        credit = self._columns.credit.item(self._place)
        return None if credit == UNLIMITED else credit

    @credit.setter
    def credit(self, frames: int | None) -> None:
        self._columns.credit[self._place] = UNLIMITED if frames is None else frames

    @property
    def generated(self) -> int:
        """Return the number of frames that were made here."""
        return self._columns.generated.item(self._place)

    @generated.setter
    def generated(self, frames: int) -> None:
        self._columns.generated[self._place] = frames

    @property
    def acknowledged(self) -> int:
        """Return the number of frames that the reader has taken."""
        return self._columns.acknowledged.item(self._place)

    @acknowledged.setter
    def acknowledged(self, frames: int) -> None:
        self._columns.acknowledged[self._place] = frames

    @property
    def next_frame(self) -> int:
        """Return the number of the next frame, counted from the stream's beginning, also on another server."""
        return self.plan.first_frame + self.generated

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "cancelled", "failed")

    def lead(self, now: float) -> float:
        """Return the seconds of audio that are made and not played yet; 0 before the first audible frame."""
        columns, place = self._columns, self._place
        first_frame_at = columns.first_frame_at.item(place)
        if first_frame_at == -inf:
            return 0.0
        played: float = min(columns.held_at.item(place), now) - first_frame_at
        return (self.generated - self.plan.skipped) / FRAME_RATE - played

    def count_frame(self, now: float) -> bool:
        """Count a frame made at ``now``, as ``Columns.count_frame`` does for many streams; returns whether it is the
        last."""
        columns, place, generated = self._columns, self._place, self.generated
        audible = generated - self.plan.skipped
        if audible >= 0:
            columns.first_frame_at[place] = max(columns.first_frame_at.item(place), now - audible / FRAME_RATE)
        columns.generated[place], columns.stepped_at[place] = generated + 1, now
        return self.plan.frames is not None and generated + 1 >= self.plan.frames

    def hold(self, held: bool, now: float) -> None:
        """Stop the listener's clock at ``now``, or let it go on."""
        columns, place = self._columns, self._place
        held_at = columns.held_at.item(place)
        if held and held_at == inf:
            columns.held_at[place] = now
        elif not held and held_at < inf:
            columns.first_frame_at[place] += now - max(held_at, columns.first_frame_at.item(place))
            columns.held_at[place] = inf


class Scheduler:
    """Places streams into slots, lowest first, in their order; resumed streams come first.

    Args:
        slots: streams that play at once.
        clock: seconds, monotonic.

    Attributes:
        columns: numbers of the streams in slots.
        active: streams in slots.
        listened: real-time streams in slots, with held ones, which come back.
    """

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.slots, self._clock = slots, clock
        self.most_listened = slots
        """Real-time streams that may play at once; streams that play already are never ended by it."""
        self.prompts_wait = False
        """True while a committed prompt waits to be encoded."""
        self.columns = Columns(slots)
        self.active = self.listened = 0
        self._by_slot = np.full(slots, None, np.object_)
        self._slot_of: dict[int, int] = {}
        """Slot of each stream by the stream's number."""
        self._used = 0
        """Slots up to the last that is taken."""
        self._waiting = StreamQueue()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def add(self, stream: Stream) -> None:
        """Queue a stream for the next free slot: behind all others, or before new ones if it is resumed."""
        self._waiting.add(stream)

    def admit(self) -> list[Stream]:
        """Move waiting streams into free slots and return them; real-time ones that wait do not hold up `fast` ones."""
        placed: list[Stream] = []
        if not self._waiting:
            return placed
        for slot in np.flatnonzero(~self.columns.taken).tolist():
            stream = self._waiting.first(self.listened < self.most_listened)
            if stream is None:
                break
            self._waiting.remove(stream)
            stream.slot, stream.status = slot, "playing"
            stream.move(self.columns, slot)
            self._by_slot[slot], self._slot_of[stream.id] = stream, slot
            self._count(stream, 1)
            placed.append(stream)
        return placed

    def due(self) -> SlotNumbers:
        """Return the slots of the streams that get their next frame now; none where none is due."""
        waits, lead = self._due_in(self._clock())
        if not (waits <= GRAIN_SECONDS).any():
            return np.empty(0, np.int64)
        due = waits <= TOGETHER_SECONDS
        listened = due & self.columns.real_time[: self._used]
        urgent = listened & (lead < SAFE_LEAD_SECONDS)
        few = np.count_nonzero(urgent)
        if few == 0:
            return np.flatnonzero(due)
        return np.flatnonzero(urgent if few * FEW <= self.active else listened)

    @property
    def short(self) -> bool:
        """Return whether a real-time stream that can be stepped is short of audio."""
        waits, lead = self._due_in(self._clock())
        listened = self.columns.real_time[: self._used] & (waits < inf)
        return bool((listened & (lead < SHORT_OF_LEAD_SECONDS)).any())

    def runnable(self) -> list[Stream]:
        """Return the streams that get their next frame now, in slot order; none where none is due."""
        return self.streams(self.due()).tolist()

    def streams(self, slots: SlotNumbers) -> npt.NDArray[np.object_]:
        """Return the streams in ``slots``."""
        return self._by_slot[slots]

    def places(self, slots: SlotNumbers) -> slice | SlotNumbers:
        """Return slots as an index of columns: a slice where they are all up to the last in use, which is faster."""
        return slice(self._used) if len(slots) == self._used else slots

    def next_due(self) -> float | None:
        """Return the seconds until a stream is due; 0 if one is now, None if none will be without a command."""
        soonest = self._due_in(self._clock())[0].min(initial=inf)
        return None if soonest == inf else max(0.0, float(soonest))

    def advance(self, stream: Stream) -> None:
        """Count one generated frame; a stream that has all its frames is completed and leaves its slot."""
        if stream.count_frame(self._clock()):
            self.end(stream, "completed")

    def advance_all(self, slots: SlotNumbers) -> list[Stream]:
        """Count one generated frame of each of ``slots``; returns the streams that are completed by it."""
        last = self.columns.count_frame(self.places(slots), self._clock())
        completed: list[Stream] = self.streams(slots[last]).tolist()
        for stream in completed:
            self.end(stream, "completed")
        return completed

    def acknowledge(self, frames: dict[int, int]) -> None:
        """Note how many frames the readers of streams have taken in all, by the streams' numbers; those without a slot
        are ignored."""
        slots = np.array([self._slot_of.get(number, -1) for number in frames], np.int64)
        taken, here = np.fromiter(frames.values(), np.int64, len(frames)), slots >= 0
        slots = slots[here]
        self.columns.acknowledged[slots] = np.maximum(self.columns.acknowledged[slots], taken[here])

    def hold(self, stream: Stream, held: bool) -> None:
        """Stop a stream, in its slot or its place in the queue, or let it go on."""
        stream.hold(held, self._clock())

    def end(self, stream: Stream, status: Literal["completed", "cancelled", "failed"]) -> None:
        """Take a stream out of its slot, or of the queue, at once."""
        if stream.ended:
            return
        if stream.status == "waiting":
            self._waiting.remove(stream)
        else:
            stream.move(Columns(1), 0)
            self.columns.clear(stream.slot)
            self._by_slot[stream.slot] = None
            if self._slot_of.get(stream.id) == stream.slot:  # not another stream of the same number
                del self._slot_of[stream.id]
            self._count(stream, -1)
        stream.status = status

    def _count(self, stream: Stream, change: int) -> None:
        """Count a stream that has taken its slot, or left it."""
        self.active += change
        self.listened += change * (stream.plan.pace == "realtime")
        if change > 0:
            self._used = max(self._used, stream.slot + 1)
        while self._used and not self.columns.taken.item(self._used - 1):
            self._used -= 1

    def _due_in(self, now: float) -> tuple[Seconds, Seconds]:
        """Return the seconds until each stream may be stepped, and its lead. They are infinite while it is held or its
        reader is behind, and for slots that are free; ``-inf`` before a listener's first frame."""
        columns, used = self.columns, self._used
        lead = columns.lead(used, now)
        wanted = SAFE_LEAD_SECONDS + (CATCH_UP - 1) * (now - columns.first_frame_at[:used])
        full = SHORT_LEAD_SECONDS if self.prompts_wait else LEAD_FRAMES / FRAME_RATE
        above = lead + 1 / FRAME_RATE - np.minimum(wanted, full)
        waits = np.where(wanted > full, above, above / CATCH_UP)
        if self.listened < self.active:
            fast = columns.stepped_at[:used] + 1 / FRAME_RATE - now if self.prompts_wait else 0.0
            waits = np.where(columns.real_time[:used], waits, fast)
        waits[columns.blocked(used)] = inf
        return waits, lead
