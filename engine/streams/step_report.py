"""Result of one step: the new frames of all streams in a few arrays, and the streams that began or ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
import numpy.typing as npt

from whispergpt.engine.config import HOP
from whispergpt.engine.messages.events import SnapshotTaken
from whispergpt.engine.streams.scheduler import Stream


@dataclass(frozen=True)
class Generated:
    """One frame of a stream: ``pcm`` int16 ``[320]``, its coarse ``code``, and its ``index`` since the stream began."""

    stream: Stream
    index: int
    code: int
    pcm: npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Frames(Sequence[Generated]):
    """New frames in the order of their slots: a sequence of ``Generated``, kept as arrays.

    Attributes:
        streams: their streams ``[n]``.
        stream_ids, indices: numbers of the streams and of the frames, int64 ``[n]``.
        codes: coarse codes, int32 ``[n]``.
        samples: int16 ``[n, 320]``; a single frame's are copied, so that it does not keep all.
    """

    streams: npt.NDArray[np.object_]
    stream_ids: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]
    samples: npt.NDArray[np.int16]

    @classmethod
    def none(cls) -> Frames:
        """Return no frames."""
        numbers = np.empty(0, np.int64)
        codes, samples = np.empty(0, np.int32), np.empty((0, HOP), np.int16)
        return cls(np.empty(0, np.object_), numbers, numbers, codes, samples)

    def __len__(self) -> int:
        return len(self.streams)

    @overload
    def __getitem__(self, which: int) -> Generated: ...
    @overload
    def __getitem__(self, which: slice) -> list[Generated]: ...

    def __getitem__(self, which: int | slice) -> Generated | list[Generated]:
        if isinstance(which, slice):
            return [self[row] for row in range(*which.indices(len(self)))]
        row = self.streams[which], int(self.indices[which]), int(self.codes[which]), self.samples[which].copy()
        return Generated(*row)


NO_FRAMES = Frames.none()


@dataclass
class StepReport:
    """Result of one ``Engine.step``: frames, streams that started, ended and failed, snapshots, and seconds."""

    frames: Frames = NO_FRAMES
    started: list[Stream] = field(default_factory=list)
    ended: list[Stream] = field(default_factory=list)
    failed: list[Stream] = field(default_factory=list)
    snapshots: list[SnapshotTaken] = field(default_factory=list)
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
