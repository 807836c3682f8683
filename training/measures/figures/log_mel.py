"""Log-mel distance: difference of two sounds' spectra, as a decimal logarithm."""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import HOP, MelConfig
from whispergpt.engine.model.mel import CausalMel

SPECTROGRAM = MelConfig(floor=1e-3)
"""80 HTK bands from 40 Hz to 12 kHz of a 1,024-sample Hann window at 24 kHz, 75 frames a second. The floor is
about the rounding noise of 16 bits in the widest band; anything weaker counts as the floor."""


def log_mel(audio: Samples) -> Tensor:
    """Return log10 of each band's magnitude, float32 ``[T, 80]``, for the whole frames of ``[n]`` at 24 kHz."""
    whole = torch.from_numpy(audio[: len(audio) // HOP * HOP])[None]
    # The engine's slices are a scaled and shifted log10.
    return 2.0 * CausalMel(SPECTROGRAM)(whole)[0] - 1.0


def log_mel_distance(reference: Samples, other: Samples) -> float:
    """Return the mean over bands and frames of \\|log10 a - log10 b\\|: 0 for equal sounds, 1 for 20 dB throughout.

    Raises:
        ValueError: the sounds are not equally long, or shorter than a frame.
    """
    if len(reference) != len(other) or len(reference) < HOP:
        raise ValueError(f"sounds of {len(reference)} and {len(other)} samples cannot be compared")
    return float((log_mel(reference) - log_mel(other)).abs().mean())
