"""Stillness of speech: seconds in which the sound does not change, as in a drone, a held vowel or a steady hiss."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import FRAME_RATE
from whispergpt.training.measures.figures.log_mel import log_mel
from whispergpt.training.measures.figures.silence import frame_levels

STILL_DB = 6.0
"""Movement in dB below which a second stands still."""
LOUD_DB = 20.0
"""Level in dB below that of the recording, down to which a second counts as sound."""
_AUDIBLE_DB = 30.0
"""Level in dB below the loudest band, down to which a band counts."""


def movements(audio: Samples) -> npt.NDArray[np.float64]:
    """Return the movement of each whole second ``[S]`` of samples ``[n]`` at 24 kHz, in dB: the standard deviation over
    the second of each mel band's level, averaged over the bands that are heard."""
    levels = 20.0 * log_mel(audio).double().numpy()
    seconds = levels[: len(levels) // FRAME_RATE * FRAME_RATE].reshape(-1, FRAME_RATE, levels.shape[1])
    means, deviations = seconds.mean(1), seconds.std(1)
    heard = means > means.max(1, keepdims=True) - _AUDIBLE_DB
    return (deviations * heard).sum(1) / heard.sum(1)


def still_share(audio: Samples, level: float) -> float | None:
    """Return the share of whole seconds that are sound and stand still; None where there is no whole second.

    Args:
        level: of the recording to compare with, as ``recording_level`` returns it.
    """
    moved = movements(audio)
    if not len(moved):
        return None
    powers = 10 ** (frame_levels(audio)[: len(moved) * FRAME_RATE] / 10)
    loud = 10 * np.log10(powers.reshape(-1, FRAME_RATE).mean(1)) > level - LOUD_DB
    return float((loud & (moved < STILL_DB)).mean())
