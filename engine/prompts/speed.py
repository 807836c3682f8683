"""How long prompts will take, as those before did."""

from __future__ import annotations

_REMEMBERED = 64
"""Chunks after which a chunk counts for a third of what it did."""


class Speed:
    """Seconds of a thread for each frame of a stage, over the last chunks."""

    def __init__(self) -> None:
        self._frames = self._seconds = 0.0

    def observe(self, frames: int, seconds: float) -> None:
        """Count a chunk of ``frames`` that took ``seconds``; several prompts may have shared it."""
        self._frames += frames - self._frames / _REMEMBERED
        self._seconds += seconds - self._seconds / _REMEMBERED

    def seconds(self, frames: int) -> float:
        """Return the seconds that frames will take, each counted once a stage; 0 before there was a chunk."""
        return frames * self._seconds / self._frames if self._frames else 0.0
