"""Stalls: a few frames of a recording, repeated in random order before it goes on.

A model that generates for long may come to repeat a few codes, which is heard as a hum. Recordings hold no sound for
that long, so that a model trained on them alone has not met this and stays in it. After training on recordings with
stalls it leaves them: in a stall it learns the code with which the recording goes on.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FEWEST_FRAMES, MOST_FRAMES = 20, 225
"""Length of a stall, 0.27 to 3 s."""
MOST_REPEATED = 6
"""Most frames that are repeated, 80 ms."""
HELD_FRAMES = 15
"""Frames at the start of a stall without a target, 0.2 s: recordings hold a sound for as long."""

_Frames: TypeAlias = npt.NDArray[np.int64]


def unstalled(frames: int) -> tuple[_Frames, _Frames]:
    """Return the frames heard and the frames that follow, as ``stalled`` does, without a stall."""
    return np.arange(frames), np.arange(1, frames)


def stalled(draw: np.random.Generator, frames: int) -> tuple[_Frames, _Frames]:
    """Draw a stall in a recording of ``frames`` frames; what it pushes past the end is dropped.

    Returns:
        The recording's frame that is heard in each frame ``[frames]``, and its frame that is to follow each but the
        last, ``[frames - 1]``; -1 where none is to be learnt.
    """
    if frames < 2 * FEWEST_FRAMES:
        return unstalled(frames)
    first = int(draw.integers(MOST_REPEATED, frames - FEWEST_FRAMES))
    length = min(int(draw.integers(FEWEST_FRAMES, MOST_FRAMES + 1)), frames - first)
    repeated = int(draw.integers(1, MOST_REPEATED + 1))
    heard, following = unstalled(frames)
    heard[first + length :] = np.arange(first, frames - length)
    heard[first : first + length] = draw.integers(first - repeated, first, length)
    following[first + length :] = np.arange(first + 1, frames - length)
    following[first : first + length] = first
    following[first : first + HELD_FRAMES] = -1
    return heard, following
