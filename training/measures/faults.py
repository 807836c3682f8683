"""Faults that a codec or a model adds to a sound: a buzz at the frame rate, and a band that its prompt lacks."""

from __future__ import annotations

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.training.measures.figures.bandwidth import band_levels, band_rise_db, high_band_db, opens_band
from whispergpt.training.measures.figures.buzz import comb_db, frame_correlation
from whispergpt.training.measures.report import Figures


def fault_figures(audio: Samples, original: Samples | None = None) -> dict[str, float | None]:
    """Return the figures of one sound ``[n]``.

    Args:
        audio: the sound.
        original: the sound ``[m]`` that a codec coded or a model continued, for ``band_rise_db`` and
            ``opens_band`` (1 or 0). Without it, the sound is an original itself and has neither.
    """
    levels, before = band_levels(audio), None if original is None else band_levels(original)
    figures = {
        "comb_db": comb_db(audio),
        "frame_correlation": frame_correlation(audio),
        "high_band_db": high_band_db(levels, before),
    }
    if original is not None:
        opens = opens_band(before, levels)
        figures |= {
            "band_rise_db": band_rise_db(before, levels),
            "opens_band": None if opens is None else float(opens),
        }
    return figures


def with_shares(row: Figures) -> dict[str, float | None]:
    """Return a row of means in which the mean of ``opens_band`` is called ``opened_share``."""
    return {name.replace("opens_band", "opened_share"): value for name, value in row.items()}
