"""The model that is attacked, and prompts to attack it with."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

MODEL = "speech"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "prompt.flac"
SECONDS = 0.6


def short_prompt(container: str = "WAV") -> bytes:
    """The first ``SECONDS`` of the bundled prompt in a container that soundfile writes."""
    samples, rate = soundfile.read(EXAMPLE, frames=round(SECONDS * soundfile.info(EXAMPLE).samplerate))
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=container)
    return out.getvalue()


def noise(random: np.random.Generator, seconds: float) -> bytes:
    """Return a wav that no other is like."""
    out = io.BytesIO()
    soundfile.write(out, random.normal(0, 0.05, round(seconds * 24_000)), 24_000, format="WAV", subtype="PCM_16")
    return out.getvalue()
