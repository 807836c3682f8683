"""Notes without a score: onsets in a second, and pitch classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.measures.figures.packages import need

STEP = 240
"""Samples between two spectra for onsets: 10 ms."""
WINDOW = 2048
PITCH_WINDOW = 8192
"""Samples of the spectra for pitch: a third of a second, 3 Hz a bin, which separates semitones from about C2 up."""
PITCH_STEP = 2048

Histogram = npt.NDArray[np.float64]


class Notes:
    """Detector of onsets and pitch classes, by librosa."""

    def __init__(self) -> None:
        self._librosa = need("librosa", "Onsets and pitch classes")

    def onset_rate(self, audio: Samples) -> float:
        """Return the onsets in a second of ``[n]``: peaks of the spectral flux of log-mel bands (librosa's rule)."""
        flux = self._librosa.onset.onset_strength(y=audio, sr=SAMPLE_RATE, n_fft=WINDOW, hop_length=STEP)
        if not flux.max() > 0:
            return 0.0
        found = self._librosa.onset.onset_detect(onset_envelope=flux, sr=SAMPLE_RATE, hop_length=STEP)
        return len(found) / (len(audio) / SAMPLE_RATE)

    def pitch_classes(self, audio: Samples) -> Histogram | None:
        """Return the share of energy in each pitch class ``[12]``, C first, A4 = 440 Hz; None for silence."""
        energy = self.pitch_energies(audio, PITCH_STEP).sum(axis=0)
        return energy / energy.sum() if energy.sum() > 0 else None

    def pitch_energies(self, audio: Samples, step: int) -> Histogram:
        """Return the energy in each pitch class around every ``step``-th sample of ``[n]``: ``[n // step + 1, 12]``."""
        whole = np.pad(audio, (0, max(0, PITCH_WINDOW - len(audio))))
        chroma = self._librosa.feature.chroma_stft(
            y=whole, sr=SAMPLE_RATE, n_fft=PITCH_WINDOW, hop_length=step, norm=None, tuning=0.0
        )
        return np.asarray(chroma, np.float64).T[: len(audio) // step + 1]


def histogram_distance(a: Histogram, b: Histogram) -> float:
    """Return half the sum of \\|a - b\\|, 0 to 1: the share that must move to turn one histogram into the other."""
    return float(np.abs(a - b).sum() / 2)
