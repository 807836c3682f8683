"""Handle of a stream at a simulated machine, in place of the server's handle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import StreamPlan
from whispergpt.engine.streams.scheduler import Stream

_ENDLESS = 1 << 30


class SimulatedStream:
    """A stream that plays or waits.

    Attributes:
        stream: the scheduler's stream.
        close: whether its frames are reported one by one, because it may run dry.
        on_begin: called when the stream gets a slot.
        on_frames: called with a number of frames and the time at which they are ready.
    """

    def __init__(self, number: int, model: ModelInfo, plan: StreamPlan, now: float) -> None:
        self.model, self.plan, self.close = model, plan, False
        self.on_begin: Callable[[], None] = lambda: None
        self.on_frames: Callable[[int, float], None] = lambda count, at: None
        self._waiting = True
        # The scheduler never reads a prompt, and a listener without backpressure needs no credit.
        nothing = cast(Prompt, cast(Any, None))
        self.stream = Stream(number, nothing, plan, credit=None, queued_at=now)

    @property
    def waits(self) -> bool:
        """Whether the stream has no slot yet."""
        return self._waiting

    @property
    def seconds_left(self) -> float | None:
        """Seconds of audio left to generate, as ``StreamHandle.seconds_left``; None if unknown."""
        if self.plan.frames is None or self._waiting:
            return None
        return (self.plan.frames - self.stream.generated) / FRAME_RATE

    @property
    def frames_left(self) -> int:
        return _ENDLESS if self.plan.frames is None else self.plan.frames - self.stream.generated

    def begins(self) -> None:
        """Record that the stream has its slot."""
        self._waiting = False
        self.on_begin()

    def made(self, count: int, at: float) -> None:
        """Report ``count`` new frames, the last of them made at ``at``."""
        heard = min(count, self.stream.generated - self.plan.skipped)
        if heard > 0:
            self.on_frames(heard, at)
