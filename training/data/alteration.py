"""Alterations of recordings: additional training copies at another pitch and pace, or with a narrower band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from whispergpt.engine.audio.limits import Samples
from whispergpt.engine.config import HOP, SAMPLE_RATE
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip

EDGE_HZ = 400.0
"""Width in Hz of the slope below a band's limit."""
LEAST_HIGH_DB = -60.0
"""Level in dB relative to the whole clip; weaker sound beyond a band's limit does not count."""
LOOKED_AT_SECONDS = 4
"""Seconds in the middle of a clip that are searched for sound beyond a band's limit."""


@dataclass(frozen=True)
class Alteration:
    """A change that is made to every clip before it is encoded.

    ``semitones``: rise in pitch; the pace changes with it, as for a record played at another speed. ``highest_hz``:
    the frequency above which everything is removed; None keeps the whole band.
    """

    semitones: float = 0.0
    highest_hz: float | None = None

    def __str__(self) -> str:
        limit = "" if self.highest_hz is None else f" up to {self.highest_hz:g} Hz"
        return (f"{self.semitones:+g}" if self.semitones else "") + limit

    def frames(self, samples: int) -> int:
        """Return how many whole frames a clip of ``samples`` samples has after the alteration."""
        return int(samples / 2 ** (self.semitones / 12)) // HOP

    def apply(self, samples: Samples) -> Samples:
        """Alter ``[n]`` samples and return whole frames of the result."""
        frames = self.frames(len(samples))
        if self.semitones:
            samples = soxr.resample(samples, SAMPLE_RATE * 2 ** (self.semitones / 12), SAMPLE_RATE)
            samples = np.pad(samples, (0, max(0, frames * HOP - len(samples))))  # soxr may round a sample off
        samples = samples[: frames * HOP]
        return samples if self.highest_hz is None else limit_band(samples, self.highest_hz)

    def concerned(self, data: AudioSet) -> list[Clip]:
        """Return the clips that the alteration changes: all, or those that reach beyond its band's limit."""
        limit = self.highest_hz
        return [clip for clip in data.clips if limit is None or reaches_above(_middle(data, clip), limit)]


UNALTERED = Alteration()


def limit_band(samples: Samples, highest_hz: float) -> Samples:
    """Return ``[n]`` samples without frequencies above ``highest_hz``, where a cosine slope of ``EDGE_HZ`` ends."""
    if not len(samples):
        return samples
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    inside = np.clip((highest_hz - hertz) / EDGE_HZ, 0.0, 1.0)
    return np.fft.irfft(spectrum * (0.5 - 0.5 * np.cos(np.pi * inside)), len(samples)).astype(np.float32)


def reaches_above(samples: Samples, hertz: float) -> bool:
    """Return whether ``[n]`` samples have sound above ``hertz`` that is stronger than rounding noise."""
    if not len(samples):
        return False
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    above = power[np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE) > hertz + EDGE_HZ / 2]
    return bool(above.sum() > power.sum() * 10 ** (LEAST_HIGH_DB / 10))


def _middle(data: AudioSet, clip: Clip) -> Samples:
    length = min(clip.samples, LOOKED_AT_SECONDS * SAMPLE_RATE)
    return data.read(clip, (clip.samples - length) // 2, length)
