"""Numbers of streams as numpy columns with one place for each, so that a step treats all streams at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.stream_plan import StreamPlan

UNLIMITED = 1 << 62
"""Number of frames that stands for no limit."""

SlotNumbers = npt.NDArray[np.int64]
"""Numbers of some slots, rising."""
Seconds = npt.NDArray[np.float64]


class Columns:
    """Numbers of each stream that a step reads and writes; times are seconds of the scheduler's clock.

    Attributes:
        id: the stream's number.
        taken: whether a stream has the place.
        real_time, snapshots, first_frame, skipped, frames: fields of the stream's plan; without an end ``frames`` is
            ``UNLIMITED``.
        credit: frames that the stream may be ahead of its reader, or ``UNLIMITED``.
        generated, acknowledged: frames that were made here, and that the reader has taken.
        first_frame_at: start of the listener's playback, moved on by waits and pauses; ``-inf`` before the first
            audible frame.
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
        self.credit = np.zeros(places, np.int64)
        self.generated = np.zeros(places, np.int64)
        self.acknowledged = np.zeros(places, np.int64)
        self.first_frame_at = np.full(places, -np.inf)
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

    def clear(self, place: int) -> None:
        """Mark a place as free. It has no credit either, so that its stream would never be due."""
        self.taken[place] = False
        self.credit[place] = self.generated[place] = self.acknowledged[place] = 0

    def next_frame(self, places: slice | SlotNumbers) -> npt.NDArray[np.int64]:
        """Return the number of each stream's next frame, counted from its beginning, also on another server."""
        return self.first_frame[places] + self.generated[places]

    def lead(self, used: int, now: float) -> Seconds:
        """Return the seconds of audio that are made and not played yet, for the first ``used`` places; ``-inf`` before
        the first audible frame."""
        audible = self.generated[:used] - self.skipped[:used]
        played: Seconds = np.minimum(self.held_at[:used], now) - self.first_frame_at[:used]
        return audible / FRAME_RATE - played

    def blocked(self, used: int) -> npt.NDArray[np.bool_]:
        """Return which of the first ``used`` places are free, or have a stream that is held or too far ahead of its
        reader."""
        ahead = self.generated[:used] - self.acknowledged[:used] >= self.credit[:used]
        blocked: npt.NDArray[np.bool_] = ahead | (self.held_at[:used] < np.inf)
        return blocked

    def count_frame(self, places: slice | SlotNumbers, now: float) -> npt.NDArray[np.bool_]:
        """Count a frame of each of ``places``, made at ``now``; returns which streams now have all their frames.

        Playback starts with the first audible frame. A listener that ran dry waited until now, and goes on from here.
        """
        generated, first_frame_at = self.generated[places], self.first_frame_at[places]
        audible = generated - self.skipped[places]
        moved_on = np.maximum(first_frame_at, now - audible / FRAME_RATE)
        self.first_frame_at[places] = np.where(audible >= 0, moved_on, first_frame_at)
        self.generated[places] = generated = generated + 1
        self.stepped_at[places] = now
        last: npt.NDArray[np.bool_] = generated >= self.frames[places]
        return last
