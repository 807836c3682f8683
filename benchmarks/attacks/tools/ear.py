"""A listener who goes on by itself where a stream was lost, and knows whether it went on in the right place."""

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
"""Samples behind a seam that are looked for in the unbroken stream, around their place: as long as a model that recalls
less than all draws the same codes."""
_AROUND = (FRAME_RATE + 2) * HOP
"""A token is a second old at most."""
_MOST_UNTOLD = 0.34
_ALIKE = 0.9
_SILENT = 20.0
"""Of 32,768: less than this tells nothing."""

Samples = npt.NDArray[np.float64]
Seam = Literal["in its place", "elsewhere", "cannot be told"]


class Ear:
    """Hears one stream of ``seconds`` in real time.

    What it heard is laid beside the same stream made once more, unbroken: up to the seam it must be the same bit for
    bit, and what follows must lie where it does there. A model that recalls less than all may draw other codes some
    frames behind a seam, so that of a few nothing can be told.

    Attributes:
        resumed: set once something came over another connection than the first.
    """

    def __init__(self, client: AsyncClient, seconds: float, seed: int) -> None:
        self._client, self._seconds, self._seed = client, seconds, seed
        self._heard = bytearray()
        self._seam_at = 0
        self.resumed = asyncio.Event()

    async def listen(self) -> None:
        """Raises WhisperGPTError where the stream is lost for good."""
        stream, first = self._stream("realtime"), None
        async for pcm in stream:
            first = first or stream.session["id"]
            if stream.session["id"] != first and not self.resumed.is_set():
                self._seam_at = len(self._heard) // 2
                self.resumed.set()
            self._heard += pcm

    async def unbroken(self) -> bytes:
        """The same stream, made once more."""
        return b"".join([pcm async for pcm in self._stream("fast")])

    def wrong(self, unbroken: bytes) -> list[str]:
        """What is not as in the unbroken stream, in words."""
        found, before = [], 2 * self._seam_at
        if not len(self._heard) == len(unbroken) == 2 * HOP * round(self._seconds * FRAME_RATE):
            found.append(f"seed {self._seed}: {len(self._heard)} bytes for {len(unbroken)}")
        if not self.resumed.is_set() or self._heard[:before] != unbroken[:before]:
            found.append(f"seed {self._seed}: no seam, or other samples before it")
        return found

    def seam(self, unbroken: bytes) -> Seam:
        """Where what follows the seam lies in the unbroken stream."""
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
    """How many seams are where, and all that is wrong."""
    seams: Counter[Seam] = Counter()
    wrong: list[str] = []
    for ear in ears:
        unbroken = await ear.unbroken()
        seams[ear.seam(unbroken)] += 1
        wrong += ear.wrong(unbroken)
    return seams, wrong


def in_place(seams: Counter[Seam]) -> bool:
    """Whether no seam is elsewhere, and of enough it can be told."""
    return not seams["elsewhere"] and seams["cannot be told"] <= _MOST_UNTOLD * seams.total()


def find(sound: Samples, within: Samples) -> int | None:
    """The sample at which ``sound`` begins in another; None where it is silent or is not there."""
    if len(sound) == 0 or len(within) < len(sound) or sound.std() < _SILENT:
        return None
    energy = np.convolve(within**2, np.ones(len(sound)), "valid")
    alike = np.correlate(within, sound, "valid") / np.sqrt(np.maximum(energy, 1.0) * (sound @ sound))
    best = int(np.argmax(alike))
    return best if alike[best] > _ALIKE else None
