"""Levels and silence: how loud sound is, and how much of it is none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import HOP

SILENT_DB = 30.0
"""A frame is silent if it is this much below the level of its recording."""
LEAST_DB = -120.0
"""Level of digital silence."""

Levels = npt.NDArray[np.float64]


def frame_levels(audio: Samples) -> Levels:
    """RMS level in dB below full scale of each frame of 320 samples, ``[T]``, of samples ``[n]``."""
    frames = audio[: len(audio) // HOP * HOP].reshape(-1, HOP).astype(np.float64)
    return np.maximum(20 * np.log10(np.sqrt(np.square(frames).mean(axis=1)) + 1e-9), LEAST_DB)


def recording_level(audio: Samples) -> float:
    """The level in dB that only one frame in twenty exceeds: that of the voice or the notes, however long they pause.

    Raises:
        ValueError: there is no whole frame.
    """
    return float(np.percentile(frame_levels(audio), 95))


def silent_share(audio: Samples, level: float) -> float:
    """Share of frames more than 30 dB below ``level``, which is that of the recording that the audio is measured by."""
    return float((frame_levels(audio) < level - SILENT_DB).mean())
