"""What the engine is asked to make of a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from whispergpt.engine.messages import Pace, SamplingParams


@dataclass(frozen=True)
class StreamPlan:
    """One stream to be.

    Attributes:
        frames: to be made; None goes on until cancelled.
        first_frame: how many frames the stream had before, elsewhere.
        skipped: how many from there on its reader will pass by.
        checkpoints: whether it says, first and every second, what it could go on from.
        resumed: whether it goes on from elsewhere, and comes before new ones.
        promised: whether there was time for it before its prompt was worked on, and now there is, whatever was learnt
            since.
    """

    sampling: SamplingParams
    frames: int | None
    pace: Pace
    first_frame: int = 0
    skipped: int = 0
    checkpoints: bool = False
    resumed: bool = False
    promised: bool = False
