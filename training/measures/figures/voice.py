"""Likeness of voices, by Resemblyzer's speaker encoder."""

from __future__ import annotations

import numpy as np

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.training.measures.figures.listening import SPEECH_RATE, resampled
from whispergpt.training.measures.figures.packages import need

LEAST_SECONDS = 0.2
"""Seconds of voice without pauses that an embedding needs."""


class VoiceLikeness:
    """Cosine of two recordings' speaker embeddings (GE2E, arXiv 1710.10467): up to 1, about 0.5 for two speakers."""

    def __init__(self) -> None:
        self._resemblyzer = need("resemblyzer", "Speaker similarity")
        self._encoder = self._resemblyzer.VoiceEncoder("cpu", verbose=False)

    def __call__(self, one: Samples, other: Samples) -> float:
        """Return the likeness of the voices of ``[n]`` and ``[m]`` samples at 24 kHz; 0 where either has no voice."""
        a, b = self._embed(one), self._embed(other)
        return 0.0 if a is None or b is None else float(np.dot(a, b))

    def _embed(self, samples: Samples) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None:
        heard = resampled(samples, SPEECH_RATE)
        if not heard.any():
            return None
        voiced = self._resemblyzer.preprocess_wav(heard)  # sets the level and removes long pauses
        if len(voiced) < LEAST_SECONDS * SPEECH_RATE:
            return None
        return np.asarray(self._encoder.embed_utterance(voiced), np.float32)
