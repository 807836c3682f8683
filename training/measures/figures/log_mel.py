"""Log-mel distance: how far two sounds' spectra are from each other, in the logarithm of ten."""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import HOP, MelConfig
from whispergpt.engine.model.mel import CausalMel

SPECTROGRAM = MelConfig(floor=1e-3)
"""80 HTK bands from 40 Hz to 12 kHz of a 1,024-sample Hann window at 24 kHz, 75 frames a second. The floor is about
what rounding to 16 bits leaves in the widest band: what is below it is nothing, whatever its logarithm."""


def log_mel(audio: Samples) -> Tensor:
    """log10 of the magnitude in each band, float32 ``[T, 80]``, of samples ``[n]`` at 24 kHz, whole frames alone."""
    whole = torch.from_numpy(audio[: len(audio) // HOP * HOP])[None]
    # The engine's slices are that logarithm on a scale of their own.
    return 2.0 * CausalMel(SPECTROGRAM)(whole)[0] - 1.0


def log_mel_distance(reference: Samples, other: Samples) -> float:
    """Mean over bands and frames of \\|log10 a - log10 b\\|: 0 for the same, 1 where they differ by 20 dB throughout.

    Raises:
        ValueError: they are not equally long, or shorter than a frame.
    """
    if len(reference) != len(other) or len(reference) < HOP:
        raise ValueError(f"sounds of {len(reference)} and {len(other)} samples cannot be compared")
    return float((log_mel(reference) - log_mel(other)).abs().mean())
