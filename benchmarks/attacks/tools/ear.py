"""A listener that resumes a lost stream, and a check that it resumed in the right place."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Literal

import numpy as np
import numpy.typing as npt
from whispergpt_client import AsyncClient
from whispergpt_client.async_stream import AsyncStream

from whispergpt.benchmarks.attacks.tools.prompts import short_prompt
from whispergpt.engine.config import FRAME_RATE, HOP

COMPARED = 5 * HOP
"""Samples after a seam that are searched for in the unbroken stream.

The number is small because a model resumed from an incomplete state soon draws other codes.
"""
_AROUND = (FRAME_RATE + 2) * HOP
"""Samples around the expected place that are searched; a resume token is at most a second old."""
_MOST_UNTOLD = 0.34
_ALIKE = 0.9
_SILENT = 20.0
"""Standard deviation, of a full scale of 32,768, below which samples cannot be compared."""

Samples = npt.NDArray[np.float64]
Seam = Literal["in its place", "elsewhere", "cannot be told"]


class Ear:
    """Listener to one stream of ``seconds`` in real time.

    The received audio is compared with the same stream generated again without interruption. Before the seam both must
    be equal bit for bit. After it the audio must lie at the same place. A model resumed from an incomplete state may
    draw other codes some frames later, so for a few seams the place cannot be found.

    Attributes:
        begun: set when audio arrives, or none will.
        resumed: set when audio arrives on a second connection.
    """

    def __init__(self, client: AsyncClient, seconds: float, seed: int) -> None:
        self._client, self._seconds, self._seed = client, seconds, seed
        self._heard = bytearray()
        self._seam_at = 0
        self.begun, self.resumed = asyncio.Event(), asyncio.Event()

    async def listen(self) -> None:
        """Listen to the end.

        Raises:
            WhisperGPTError: the stream could not be resumed.
        """
        stream, first = self._stream("realtime"), None
        try:
            async for pcm in stream:
                first = first or stream.session["id"]
                if stream.session["id"] != first and not self.resumed.is_set():
                    self._seam_at = len(self._heard) // 2
                    self.resumed.set()
                self._heard += pcm
                self.begun.set()
        finally:
            self.begun.set()

    async def unbroken(self) -> bytes:
        """Generate the same stream without interruption and return its bytes."""
        return b"".join([pcm async for pcm in self._stream("fast")])

    def wrong(self, unbroken: bytes) -> list[str]:
        """Return a sentence for each difference from the unbroken stream."""
        found, before = [], 2 * self._seam_at
        if not len(self._heard) == len(unbroken) == 2 * HOP * round(self._seconds * FRAME_RATE):
            found.append(f"seed {self._seed}: {len(self._heard)} bytes for {len(unbroken)}")
        if not self.resumed.is_set() or self._heard[:before] != unbroken[:before]:
            found.append(f"seed {self._seed}: no seam, or other samples before it")
        return found

    def seam(self, unbroken: bytes) -> Seam:
        """Return where the audio after the seam lies in the unbroken stream."""
        if not self.resumed.is_set():
            return "cannot be told"
        at, first = self._seam_at, max(0, self._seam_at - _AROUND)
        heard, whole = (np.frombuffer(bytes(pcm), "<i2").astype(np.float64) for pcm in (self._heard, unbroken))
        place = find(heard[at : at + COMPARED], whole[first : at + COMPARED + _AROUND])
        if place is None:
            return "cannot be told"
        return "in its place" if first + place == at else "elsewhere"

    def _stream(self, pace: Literal["realtime", "fast"]) -> AsyncStream:
        return self._client.stream(short_prompt(), seconds=self._seconds, pace=pace, seed=self._seed)


async def judge(ears: list[Ear]) -> tuple[Counter[Seam], list[str]]:
    """Return the number of seams by place, and all differences."""
    seams: Counter[Seam] = Counter()
    wrong: list[str] = []
    for ear in ears:
        unbroken = await ear.unbroken()
        seams[ear.seam(unbroken)] += 1
        wrong += ear.wrong(unbroken)
    return seams, wrong


def in_place(seams: Counter[Seam]) -> bool:
    """Return whether no seam is in a wrong place, and the place of enough seams is known."""
    return not seams["elsewhere"] and seams["cannot be told"] <= _MOST_UNTOLD * seams.total()


def find(sound: Samples, within: Samples) -> int | None:
    """Return the index at which ``sound`` begins in ``within``; None if it is silent or not found."""
    if len(sound) == 0 or len(within) < len(sound) or sound.std() < _SILENT:
        return None
    energy = np.convolve(within**2, np.ones(len(sound)), "valid")
    alike = np.correlate(within, sound, "valid") / np.sqrt(np.maximum(energy, 1.0) * (sound @ sound))
    best = int(np.argmax(alike))
    return best if alike[best] > _ALIKE else None
