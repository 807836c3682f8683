"""A stream at a machine, as admission and its listener see it: the server's handle on the engine's stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.messages import ModelInfo, StreamPlan
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.streams.scheduler import Stream

_ENDLESS = 1 << 30


class Playing:
    """One stream that plays or waits.

    Attributes:
        stream: the scheduler's.
        close: whether each of its frames is told by itself, because it could run dry.
        on_begin, on_frames: told of its slot, and of so many frames to be heard at a time.
    """

    def __init__(self, number: int, model: ModelInfo, plan: StreamPlan, now: float) -> None:
        self.model, self.plan, self.close = model, plan, False
        self.on_begin: Callable[[], None] = lambda: None
        self.on_frames: Callable[[int, float], None] = lambda count, at: None
        self._waiting = True
        # The scheduler never looks into a prompt, and a listener who takes all at once needs no credit.
        nothing = cast(Prompt, cast(Any, None))
        self.stream = Stream(number, nothing, plan, credit=None, queued_at=now)

    @property
    def waits(self) -> bool:
        """Whether it has no slot yet."""
        return self._waiting

    @property
    def seconds_left(self) -> float | None:
        """As ``StreamHandle.seconds_left``: until its last frame is made, None where nobody knows."""
        if self.plan.frames is None or self._waiting:
            return None
        return (self.plan.frames - self.stream.generated) / FRAME_RATE

    @property
    def frames_left(self) -> int:
        return _ENDLESS if self.plan.frames is None else self.plan.frames - self.stream.generated

    def begins(self) -> None:
        """It has its slot."""
        self._waiting = False
        self.on_begin()

    def made(self, count: int, at: float) -> None:
        """So many frames more were made, the last of them then."""
        heard = min(count, self.stream.generated - self.plan.skipped)
        if heard > 0:
            self.on_frames(heard, at)
