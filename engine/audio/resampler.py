"""Resampling of mono audio at any rate to 24 kHz."""

from __future__ import annotations

import numpy as np
import soxr

from whispergpt.engine.audio.limits import AudioError, Samples, check_rate
from whispergpt.engine.config import SAMPLE_RATE

LARGEST_SAMPLE = 65_536.0
"""Largest sample that is accepted. Full scale is 1, but some float files hold unscaled 16-bit values."""


class Resampler:
    """A resampler of mono audio at any rate to 24 kHz, in fixed blocks of 0.1 seconds.

    Args:
        rate: samples per second of the input.

    Raises:
        AudioError: the rate is outside 4 to 768 kHz (``unusable_rate``).
    """

    def __init__(self, rate: int) -> None:
        check_rate(rate)
        self._stream = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        self._block = max(1, rate // 10)
        self._pending: Samples = np.zeros(0, np.float32)

    def push(self, samples: Samples, last: bool = False) -> Samples:
        """Take ``[n]`` samples and return what is ready; ``last`` flushes the filter.

        Raises:
            AudioError: a sample is NaN, infinite or absurdly large (``not_finite``).
        """
        if not (np.abs(samples) <= LARGEST_SAMPLE).all():
            raise AudioError("not_finite", "The audio contains samples that are NaN, infinite or absurdly large.")
        if self._stream is None:
            return samples
        self._pending = np.concatenate([self._pending, samples])
        ready = []
        while len(self._pending) >= self._block:
            ready.append(self._stream.resample_chunk(self._pending[: self._block]))
            self._pending = self._pending[self._block :]
        if last:
            ready.append(self._stream.resample_chunk(self._pending, last=True))
            self._pending = self._pending[:0]
        return np.concatenate(ready) if ready else samples[:0]
