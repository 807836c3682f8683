"""Prompts of listeners: cuts of recordings, all different, so that the server's prompt cache has none of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from whispergpt.engine.audio.audio_file import AudioError, read_audio
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.load.plan import Visit

Pcm = npt.NDArray[np.int16]


class Voices:
    """Recordings to cut prompts from.

    Raises:
        ValueError: a file cannot be read; the message names the file.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._recordings = [_read(path) for path in files]

    def pcm(self, visit: Visit) -> Pcm:
        """Return the prompt of a visit, int16 ``[n]`` at 24 kHz; a recording that is too short is repeated."""
        drawn = np.random.default_rng(visit.seed)
        recording = self._recordings[visit.number % len(self._recordings)]
        count = round(visit.prompt_seconds * SAMPLE_RATE)
        start = int(drawn.integers(max(1, len(recording) - count)))
        cut = np.resize(recording[start:], count) if start + count <= len(recording) else np.resize(recording, count)
        # Random lowest bits of a few samples: inaudible, but the content hash differs.
        cut[: min(count, 64)] ^= drawn.integers(0, 2, min(count, 64), dtype=np.int16)
        return cut

    def file(self, visit: Visit) -> bytes:
        """Return the prompt of a visit as a wav file."""
        written = io.BytesIO()
        soundfile.write(written, self.pcm(visit), SAMPLE_RATE, format="WAV", subtype="PCM_16")
        return written.getvalue()


def _read(path: Path) -> Pcm:
    try:
        samples = read_audio(path)
    except AudioError as error:
        raise ValueError(f"{path}: {error}") from None
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
