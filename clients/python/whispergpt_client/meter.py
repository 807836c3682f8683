"""Level meter: one line in the terminal."""

from __future__ import annotations

import math
import sys
from array import array
from typing import TextIO

_WIDTH = 40
_QUIETEST_DB = -60.0


def level_db(pcm: bytes) -> float:
    """Return the root mean square of s16le samples in dB relative to full scale; -inf for silence."""
    samples = array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    power = sum(sample * sample for sample in samples) / max(1, len(samples))
    return 10 * math.log10(power / 32_768**2) if power else -math.inf


class Meter:
    """Level meter that rewrites one line; writes nothing if ``stream`` is not a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._seen = self._stream.isatty()
        self._shown = 0.0

    def show(self, pcm: bytes, seconds: float) -> None:
        """Show the level of the newest samples, and the seconds played so far."""
        if not self._seen:
            return
        level = min(1.0, max(0.0, 1 - level_db(pcm) / _QUIETEST_DB))
        self._shown = max(level, 0.8 * self._shown)  # falls more slowly than it rises, to stay readable
        bar = "█" * round(_WIDTH * self._shown)
        self._stream.write(f"\r{seconds:7.1f} s  {bar:<{_WIDTH}}")
        self._stream.flush()

    def clear(self) -> None:
        """Empty the line."""
        if self._seen:
            self._stream.write("\r" + " " * (_WIDTH + 12) + "\r")
            self._stream.flush()
