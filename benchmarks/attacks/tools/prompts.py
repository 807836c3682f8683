"""The model of the attacked server, and prompts for attacks."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from whispergpt.load.example import PROMPT

MODEL = "speech"
SECONDS = 0.6


def short_prompt(container: str = "WAV") -> bytes:
    """Return the first ``SECONDS`` of the bundled prompt in a container that soundfile writes."""
    samples, rate = soundfile.read(PROMPT, frames=round(SECONDS * soundfile.info(PROMPT).samplerate))
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=container)
    return out.getvalue()


def noise(random: np.random.Generator, seconds: float) -> bytes:
    """Return a wav file of new noise."""
    out = io.BytesIO()
    soundfile.write(out, random.normal(0, 0.05, round(seconds * 24_000)), 24_000, format="WAV", subtype="PCM_16")
    return out.getvalue()
