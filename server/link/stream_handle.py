"""Handle of a request on a stream in the engine; closing it frees its slot there at once."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Literal

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.messages.commands import CancelStream, ChangeSampling, HoldStream
from whispergpt.engine.messages.events import ModelInfo, SnapshotTaken
from whispergpt.engine.messages.links import CREDIT_FRAMES
from whispergpt.engine.stream_plan import SamplingParams, StreamPlan
from whispergpt.server.access.caller import Visit
from whispergpt.server.errors import GOING_AWAY, ApiError, engine_lost
from whispergpt.server.link.patience import Patience

if TYPE_CHECKING:
    from whispergpt.server.link.engine_link import EngineLink

_SNAPSHOTS_HELD = 8
"""Snapshots kept of a stream: more than come in ``CREDIT_FRAMES``."""
_MOST_CHANGES = 256
"""Changes of a stream's sampling that the engine has not answered yet."""

Status = Literal["completed", "cancelled", "failed"]


class StreamHandle:
    """A stream in the engine and the frames that its reader has not taken yet, never more than ``CREDIT_FRAMES``.

    The code that starts it closes it: that cancels the stream, and its slot is free within one frame.
    """

    def __init__(self, link: EngineLink, stream_id: int, model: ModelInfo, plan: StreamPlan, visit: Visit) -> None:
        self.stream_id, self.model, self.plan, self._visit = stream_id, model, plan, visit
        self.status: Status | None = None
        self._link = link
        self._frames: deque[bytes] = deque()
        self._taken = self._note_at = 0
        """Frames given out, and those from which other front ends are told again: once a second is enough."""
        self._queue_seconds: float | None = None
        self._failure: ApiError | None = None
        self._waiter: asyncio.Future[None] | None = None
        """Done once the task that waits is to look again."""
        self._wanted = self._seen = 0
        """Frames that end a wait, and those that were there at its beginning."""
        self._patience, self._expired = Patience(self._expire), False
        self._last_frame: float | None = None
        self._changes: deque[asyncio.Future[int | None]] = deque()
        self._snapshots: deque[SnapshotTaken] = deque(maxlen=_SNAPSHOTS_HELD)
        self.held = False

    async def started(self, within: float) -> float:
        """Wait at most ``within`` seconds for a slot; returns the seconds that the stream waited for it.

        Raises:
            TimeoutError: no slot became free in time.
            ApiError: the engine is gone.
        """
        async with asyncio.timeout(within):
            while self._queue_seconds is None and not self._over:
                await self._change()
        if self._failure:
            raise self._failure
        return self._queue_seconds or 0.0

    async def take(self, limit: int, at_least: int = 1) -> list[bytes]:
        """Take up to ``limit`` frames (640 bytes s16le each), waiting until ``at_least`` are there or the stream ends.

        A stream that is held gives none. An empty list is the end; ``status`` then says which.

        Raises:
            ApiError: the engine died, hung or failed, the stream was held for too long, or its caller's allowance is
                used up; frames that came before have been given out.
        """
        while self._must_wait(at_least):
            await self._wait_for(at_least)
        if not self._frames:
            if self._failure:
                raise self._failure
            return []
        self._visit.go_on(self._taken)
        if len(self._frames) <= limit:
            taken = list(self._frames)
            self._frames.clear()
        else:
            taken = [self._frames.popleft() for _ in range(limit)]
        self._taken += len(taken)
        if not self._over:
            self._link.acknowledge(self.stream_id, self._taken)
            if self._taken >= self._note_at:
                self._note_at = self._taken + FRAME_RATE
                self._link.note(self)
        return taken

    async def _wait_for(self, frames: int) -> None:
        """Wait until there are so many frames, or another change; a stream of which nothing comes fails.

        Raises:
            ApiError: the stream was held for too long.
        """
        held, longest = self.held, self._link.hold_seconds if self.held else self._link.stall_seconds
        self._wanted, self._seen, self._expired = frames, len(self._frames), False
        self._patience.begin(longest)
        try:
            await self._change()
        finally:
            self._patience.end()
        if not self._expired:
            return
        if held:
            told = f"The response was paused for {longest:g} s and has been ended."
            raise ApiError(408, "paused_too_long", told, close_code=GOING_AWAY)
        self.fail(engine_lost(f"The engine gave no audio for {longest:g} s; try again."))

    async def _change(self) -> None:
        """Wait until ``_notify`` is called."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _notify(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _expire(self) -> None:
        """End the wait, unless frames came meanwhile."""
        if self._waiter is not None:
            self._expired = self.held or len(self._frames) == self._seen
            self._notify()

    @property
    def seconds_left(self) -> float | None:
        """Return the seconds until its last frame; None if it has no end or no slot, is held, or not in real time."""
        frames = self.plan.frames
        if frames is None or self._queue_seconds is None or self.held or self.plan.pace != "realtime":
            return None
        return (frames - self._taken - len(self._frames)) / FRAME_RATE

    @property
    def waits(self) -> bool:
        """Return whether it has no slot yet."""
        return self._queue_seconds is None and not self._over

    def snapshot(self, frame: int) -> SnapshotTaken | None:
        """Return the last snapshot at or before ``frame``, if one came since the last call."""
        found = None
        while self._snapshots and self._snapshots[0].frame <= frame:
            found = self._snapshots.popleft()
        return found

    def hold(self, held: bool) -> None:
        """Stop the stream where it is, or let it go on."""
        self.held = held
        self._last_frame = None  # the pause is no time between frames
        self._link.post(HoldStream(self.stream_id, held))
        self._link.note(self)
        self._notify()

    def change_sampling(self, sampling: SamplingParams) -> asyncio.Future[int | None]:
        """Change the sampling; returns the first frame that it governs, None if the stream ends before."""
        answer: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        if self._over:
            answer.set_result(None)
        else:
            if len(self._changes) >= _MOST_CHANGES:
                raise ApiError(429, "too_fast", "Changes come faster than frames; send fewer.", retry_after=1)
            self._changes.append(answer)
            self._link.post(ChangeSampling(self.stream_id, sampling))
        return answer

    def close(self) -> None:
        """Cancel the stream unless it has ended; nothing more comes from it."""
        if self._link.forget_stream(self.stream_id):
            self._link.post(CancelStream(self.stream_id))
        if not self._over:
            self.status = "cancelled"
        self._visit.close(self._taken)
        self._patience.close()
        self._frames.clear()
        self._wake()

    # --- called by the link

    def begin(self, queue_seconds: float) -> None:
        self._queue_seconds = queue_seconds
        self._notify()

    def deliver(self, pcm: bytes, now: float) -> float | None:
        """Queue one frame that came at ``now``; returns the time of the one before, None if there is none."""
        frames = self._frames
        if len(frames) >= CREDIT_FRAMES:
            raise RuntimeError(f"stream {self.stream_id} was given more than {CREDIT_FRAMES} frames of credit")
        frames.append(pcm)
        if len(frames) >= self._wanted and self._waiter is not None:
            self._notify()
        before, self._last_frame = self._last_frame, now
        return before

    def sampling_changed(self, frame: int | None) -> None:
        """Take the engine's answer to the oldest change."""
        answer = self._changes.popleft() if self._changes else None  # none: the stream is over for the server already
        if answer is not None and not answer.done():
            answer.set_result(frame)

    def note(self, snapshot: SnapshotTaken) -> None:
        """Keep a snapshot until its frame is taken."""
        self._snapshots.append(snapshot)

    def end(self, status: Status) -> None:
        if status == "failed":
            self.fail(ApiError(500, "stream_failed", "The engine could not go on with this stream."))
        elif self.status is None:
            self.status = status
        self._wake()

    def fail(self, error: ApiError) -> None:
        if self.status is None:
            self.status, self._failure = "failed", error
        self._wake()

    def _must_wait(self, at_least: int) -> bool:
        if self.held and self._failure is None and (self._frames or not self._over):
            return True
        return len(self._frames) < at_least and not self._over

    def _wake(self) -> None:
        """Wake the tasks that wait, so that they see the end."""
        self._notify()
        while self._changes:
            self.sampling_changed(None)

    @property
    def _over(self) -> bool:
        return self.status is not None
