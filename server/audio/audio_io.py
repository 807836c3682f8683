"""Live PCM from clients, and the threads that compute on audio outside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar, TypeVarTuple, Unpack

import numpy as np

from whispergpt.engine.audio.audio_file import MAX_PROMPT_SECONDS, AudioError, Resampler, Samples, cut_prompt, too_long
from whispergpt.engine.config import HOP, SAMPLE_RATE

MIN_PCM_RATE, MAX_PCM_RATE = 8_000, 192_000
_LIMIT = int(MAX_PROMPT_SECONDS * SAMPLE_RATE)
_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")


class AudioPool:
    """Threads that compute on audio for the server."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="audio")
        barrier = Barrier(threads)
        for _ in range(threads):  # all are there from the start: no request finds fewer, and none leaves more behind
            self._threads.submit(barrier.wait)

    async def run(self, work: Callable[[Unpack[_Arguments]], _T], *arguments: *_Arguments) -> _T:
        """Run ``work`` in a thread of the pool.

        Raises:
            CancelledError: the pool is closed and did not begin the work.
        """
        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        except RuntimeError:  # it is closed
            raise asyncio.CancelledError from None
        return await running

    def close(self) -> None:
        """Let running work end and take no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def to_bytes(samples: Samples) -> bytes:
    """Return samples ``[n]`` as the bytes that the engine takes."""
    return samples.astype("<f4", copy=False).tobytes()


def seconds_of(samples: bytes) -> float:
    """Return the duration in seconds of samples that ``to_bytes`` made."""
    return len(samples) / (4 * SAMPLE_RATE)


class PcmPrompt:
    """Converts s16le mono PCM, in pieces of any size, to float32 samples at 24 kHz in whole frames.

    The samples are exactly those of a wav file with the same PCM.

    Args:
        rate: samples per second of the PCM.

    Raises:
        AudioError: the rate cannot be used.
    """

    def __init__(self, rate: int) -> None:
        self._resampler = Resampler(rate)
        self._most_samples, self._came = int(MAX_PROMPT_SECONDS * rate), 0
        self._odd = b""
        self._rest: Samples = np.zeros(0, np.float32)
        self._total = 0

    def require_room(self, size: int) -> None:
        """Refuse a prompt that would become too long before it costs anything.

        Raises:
            AudioError: the prompt would be longer than 60 seconds (``too_long``).
        """
        if (self._came + size) // 2 > self._most_samples:
            raise too_long()

    def push(self, data: bytes) -> bytes:
        """Take more PCM; returns whole frames of samples.

        Raises:
            AudioError: the prompt is longer than 60 seconds (``too_long``).
        """
        self.require_room(len(data))
        self._came += len(data)
        data = self._odd + data
        even = len(data) // 2 * 2
        self._odd = data[even:]
        pcm = np.frombuffer(data, "<i2", even // 2).astype(np.float32) / np.float32(32_768)
        return self._frames(self._resampler.push(pcm))

    def finish(self) -> tuple[bytes, float]:
        """Return the last frames, and the seconds of the whole prompt.

        Raises:
            AudioError: shorter than 0.5 seconds, or the last sample is half (``undecodable``).
        """
        if self._odd:
            raise AudioError("undecodable", "The PCM ends in the middle of a sample; 16-bit samples have two bytes.")
        tail = self._resampler.push(np.zeros(0, np.float32), last=True)
        # The filter's tail may add a few samples to a prompt of exactly the longest duration.
        last = self._frames(tail[: _LIMIT - self._total])
        cut_prompt(np.broadcast_to(np.float32(0), (self._total,)))
        return last, self._total // HOP * HOP / SAMPLE_RATE

    def _frames(self, samples: Samples) -> bytes:
        self._total += len(samples)
        self._rest = np.concatenate([self._rest, samples])
        whole = len(self._rest) // HOP * HOP
        ready, self._rest = self._rest[:whole], self._rest[whole:]
        return to_bytes(ready)
