"""Signal-to-noise ratios: similarity of the waveform itself."""

from __future__ import annotations

import numpy as np

from whispergpt.engine.audio.audio_file import Samples

MOST_SHIFT = 8
"""Largest shift in samples at 24 kHz (a third of a millisecond) that is compensated: Opus's resampler is late by one or
two at its lowest rates."""


def snr_db(reference: Samples, other: Samples) -> float:
    """Return the reference's power over the difference's, in dB, at the best shift of up to 8 samples."""
    return max(10 * np.log10(_power(a) / max(_power(a - b), 1e-12)) for a, b in _shifted(reference, other))


def si_sdr_db(reference: Samples, other: Samples) -> float:
    """Return the scale-invariant signal-to-distortion ratio in dB (Le Roux et al., arXiv 1811.02508), best shift."""
    return max(_scale_invariant(a, b) for a, b in _shifted(reference, other))


def delay(reference: Samples, other: Samples) -> int:
    """Return the samples by which ``other`` is late, at the peak of the cross-correlation; negative if it is early."""
    size = len(reference) + len(other)
    product = np.fft.rfft(other, size) * np.conj(np.fft.rfft(reference, size))
    peak = int(np.argmax(np.fft.irfft(product, size)))
    return peak if peak < len(other) else peak - size


def _shifted(reference: Samples, other: Samples) -> list[tuple[Samples, Samples]]:
    if len(reference) != len(other) or len(reference) <= 2 * MOST_SHIFT:
        raise ValueError(f"sounds of {len(reference)} and {len(other)} samples cannot be compared")
    middle = reference[MOST_SHIFT:-MOST_SHIFT]
    return [(middle, other[start : start + len(middle)]) for start in range(2 * MOST_SHIFT + 1)]


def _power(samples: Samples) -> float:
    return float(np.square(samples, dtype=np.float64).sum())


def _scale_invariant(reference: Samples, other: Samples) -> float:
    scale = float(np.dot(other.astype(np.float64), reference)) / max(_power(reference), 1e-12)
    wanted = scale * reference
    return float(10 * np.log10(max(_power(wanted), 1e-12) / max(_power(other - wanted), 1e-12)))
