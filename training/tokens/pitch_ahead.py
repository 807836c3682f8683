"""Pitch classes of what follows each frame, which a model of music learns to foretell beside the next code."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import FRAME_RATE, HOP
from whispergpt.training.measures.figures.notes import Notes

SPANS = (FRAME_RATE, 4 * FRAME_RATE)
"""Frames of the two stretches behind a frame: the next second, and the next four."""
CLASSES = 12
FEWEST = FRAME_RATE // 2
"""Frames that a stretch has at least; near a recording's end it is shorter, and then there is nothing to foretell."""
EVERY = 5
"""Frames for which the energy in the pitch classes is computed once, in their middle. Its spectra reach a sixth of a
second before and behind."""
QUIET = 1e-4
"""Mean energy, as a share of the recording's, below which a stretch is silent: spectra reach into it from beside."""


def pitch_ahead(notes: Notes, parts: Iterable[Samples], frames: int) -> npt.NDArray[np.float16]:
    """Return the shares of energy in each pitch class behind each frame of a recording, ``[frames, spans, 12]``.

    They are zero where fewer than ``FEWEST`` frames follow, or all is ``QUIET``.

    Args:
        parts: the recording's samples ``[n]``, one part after another, each of whole frames but the last.
    """
    energies = np.concatenate([np.zeros((0, CLASSES)), *(_energies(notes, part) for part in parts if len(part) >= HOP)])
    quiet = QUIET * energies.sum() / max(1, frames)
    total = np.concatenate([np.zeros((1, CLASSES)), np.cumsum(energies, axis=0)])
    shares = np.zeros((frames, len(SPANS), CLASSES), np.float16)
    first = np.arange(1, frames + 1)
    for index, span in enumerate(SPANS):
        end = np.minimum(first + span, frames)
        ahead = total[end] - total[first]
        whole = ahead.sum(axis=1)
        there = (end - first >= FEWEST) & (whole > quiet * (end - first))
        shares[there, index] = ahead[there] / whole[there, None]
    return shares


def _energies(notes: Notes, audio: Samples) -> npt.NDArray[np.float64]:
    """Return the energy in each pitch class in each frame of ``[n]``, ``[n // HOP, 12]``."""
    energies = notes.pitch_energies(audio, EVERY * HOP)
    nearest = (np.arange(len(audio) // HOP) + EVERY // 2) // EVERY
    return energies[np.minimum(nearest, len(energies) - 1)]
