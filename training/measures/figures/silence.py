"""Levels of sound, and its share of silence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import HOP

SILENT_DB = 30.0
"""Level in dB below that of the recording, under which a frame is silent."""
LEAST_DB = -120.0
"""Level of digital silence."""

Levels = npt.NDArray[np.float64]


def frame_levels(audio: Samples) -> Levels:
    """Return the RMS level in dBFS of each frame of 320 samples, ``[T]``, of samples ``[n]``."""
    frames = audio[: len(audio) // HOP * HOP].reshape(-1, HOP).astype(np.float64)
    return np.maximum(20 * np.log10(np.sqrt(np.square(frames).mean(axis=1)) + 1e-9), LEAST_DB)


def recording_level(audio: Samples) -> float:
    """Return the level in dB that one frame in twenty exceeds, which does not depend on the length of pauses.

    Raises:
        ValueError: there is no whole frame.
    """
    return float(np.percentile(frame_levels(audio), 95))


def silent_share(audio: Samples, level: float) -> float:
    """Return the share of frames more than 30 dB below ``level``, the level of the recording to compare with."""
    return float((frame_levels(audio) < level - SILENT_DB).mean())
