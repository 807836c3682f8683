"""Numbers of streams as numpy columns with one place for each, so that a step treats all streams at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.messages import StreamPlan

UNLIMITED = 1 << 62
"""Number of frames that stands for no limit."""

SlotNumbers = npt.NDArray[np.int64]
"""Numbers of some slots, rising."""
Seconds = npt.NDArray[np.float64]


class Columns:
    """What a step reads and writes of each stream; times are seconds of the scheduler's clock.

    Attributes:
        id: the stream's number.
        taken: whether a stream has the place.
        real_time, snapshots, first_frame, skipped, frames: fields of the stream's plan; without an end ``frames`` is
            ``UNLIMITED``.
        credit: frames that the stream may be ahead of its reader, or ``UNLIMITED``.
        generated, acknowledged: frames that were made here, and that the reader has taken.
        first_frame_at: start of the listener's playback, moved on by waits and pauses; NaN before the first audible
            frame.
        held_at: since when the stream is held; infinite while it is not.
        stepped_at: time of its last frame.
    """

    def __init__(self, places: int) -> None:
        self.id = np.zeros(places, np.int64)
        self.taken = np.zeros(places, np.bool_)
        self.real_time = np.zeros(places, np.bool_)
        self.snapshots = np.zeros(places, np.bool_)
        self.first_frame = np.zeros(places, np.int64)
        self.skipped = np.zeros(places, np.int64)
        self.frames = np.full(places, UNLIMITED)
        self.credit = np.full(places, UNLIMITED)
        self.generated = np.zeros(places, np.int64)
        self.acknowledged = np.zeros(places, np.int64)
        self.first_frame_at = np.full(places, np.nan)
        self.held_at = np.full(places, np.inf)
        self.stepped_at = np.full(places, -np.inf)

    @classmethod
    def of(cls, number: int, plan: StreamPlan, credit: int | None) -> Columns:
        """Return the columns of one new stream that has no slot."""
        columns = cls(1)
        columns.id[0] = number
        columns.taken[0] = True
        columns.real_time[0] = plan.pace == "realtime"
        columns.snapshots[0] = plan.snapshots
        columns.first_frame[0] = plan.first_frame
        columns.skipped[0] = plan.skipped
        columns.frames[0] = UNLIMITED if plan.frames is None else plan.frames
        columns.credit[0] = UNLIMITED if credit is None else credit
        return columns

    def put(self, place: int, other: Columns, at: int) -> None:
        """Copy what another's place ``at`` has."""
        for name, column in vars(self).items():
            column[place] = getattr(other, name)[at]

    def copy_of(self, place: int) -> Columns:
        """Return columns of one place, with what ``place`` has."""
        columns = Columns(1)
        columns.put(0, self, place)
        return columns

    def next_frame(self, slots: SlotNumbers) -> npt.NDArray[np.int64]:
        """Return the number of each stream's next frame, counted from its beginning, also on another server."""
        return self.first_frame[slots] + self.generated[slots]

    def lead(self, places: slice | SlotNumbers, now: float) -> Seconds:
        """Return the seconds of audio that are made and not played yet; NaN before the first audible frame."""
        audible = self.generated[places] - self.skipped[places]
        played: Seconds = np.minimum(self.held_at[places], now) - self.first_frame_at[places]
        return audible / FRAME_RATE - played

    def blocked(self, places: slice) -> npt.NDArray[np.bool_]:
        """Return whether a place is free, or its stream is held or too far ahead of its reader."""
        ahead = self.generated[places] - self.acknowledged[places] >= self.credit[places]
        blocked: npt.NDArray[np.bool_] = ahead | (self.held_at[places] < np.inf) | ~self.taken[places]
        return blocked

    def count_frame(self, slots: SlotNumbers, now: float) -> SlotNumbers:
        """Count a frame of each of ``slots``, made at ``now``; returns those that now have all their frames."""
        first_frame_at, generated = self.first_frame_at[slots], self.generated[slots]
        # A listener that ran dry waited that long, and goes on from here.
        dry = np.maximum(0.0, -self.lead(slots, now))
        begins = np.where(generated >= self.skipped[slots], now, np.nan)
        self.first_frame_at[slots] = np.where(np.isnan(first_frame_at), begins, first_frame_at + dry)
        self.generated[slots] = generated + 1
        self.stepped_at[slots] = now
        return slots[generated + 1 >= self.frames[slots]]
