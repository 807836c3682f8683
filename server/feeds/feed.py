"""One feed: a response's audio of the last seconds, and its encodings, each made once for all listeners."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Literal

import msgspec

from whispergpt.engine.config import HOP, SAMPLE_RATE
from whispergpt.server.admission.held_bytes import MAX_TEXT_BYTES, Share
from whispergpt.server.audio.audio_io import AudioPool
from whispergpt.server.audio.encoders import Encoder, Format, joinable_encoder
from whispergpt.server.feeds.track import Chunk, SlowListenerError, Track
from whispergpt.server.observe import logs

log = logs.get("server.feed")
FeedStatus = Literal["playing", "completed", "cancelled", "failed"]
RAW: tuple[Format, ...] = ("pcm", "wav")
"""Formats whose bodies are the samples themselves, behind a head."""
LEAD_SECONDS = 2.0
"""Seconds before the newest audio at which a listener begins: the owner gets as much ahead of playback."""
_CHUNK_BYTES = 18 * HOP * 2
"""Bytes of PCM (240 ms) that one chunk has: each is one wake-up of every listener."""
_ENCODED_AT_ONCE = 4 * _CHUNK_BYTES
"""Bytes of PCM that an encoder takes in one turn of its thread, while it catches up."""
_UNHEARD_SECONDS = 10.0
"""Seconds for which a format is encoded for nobody."""
_ENCODED_BYTES_A_SECOND = 64_000
"""Bytes of a second in all compressed formats together: flac that compresses nothing, mp3 and Opus."""


def bytes_held(seconds: float) -> int:
    """Return the most bytes that a feed which keeps so many seconds holds, in all formats, with its checkpoint."""
    return round(seconds * (2 * SAMPLE_RATE + _ENCODED_BYTES_A_SECOND)) + MAX_TEXT_BYTES


class About(msgspec.Struct, frozen=True):
    """Facts of a feed that do not change.

    Attributes:
        owner: identity of the caller whose response it is.
        counter: name of the count of its listeners.
        seed: with which the response began.
        frames: of the whole response; None without an end.
    """

    token: str
    owner: str
    counter: str
    model: str
    fingerprint: str
    seed: int
    frames: int | None

    @property
    def audio_path(self) -> str:
        """Return the path at which the audio is."""
        return f"/v1/streams/{self.token}/audio"


class Checkpoint(msgspec.Struct, frozen=True):
    """Point of a response from which anybody can go on alone."""

    frame: int
    resume_token: str


class Feed:
    """A response's audio, from when the feed was opened.

    Args:
        start: sample of the response that the audio begins with.
        keep_seconds: audio that is kept.
        pool: threads that encode.
        share: bytes that are counted for the owner, until ``close``.

    Attributes:
        status, paused: state of the response. No listener is woken for a pause: an owner could do that without end.
        checkpoint: the newest one.
        pcm: the samples.
        listeners: of this process.
        closed: whether it takes no more listeners.
    """

    def __init__(self, about: About, start: int, keep_seconds: float, pool: AudioPool, share: Share) -> None:
        self.about = about
        self.status: FeedStatus = "playing"
        self.paused = False
        self.checkpoint: Checkpoint | None = None
        self.listeners = 0
        self._keep = round(keep_seconds * SAMPLE_RATE)
        self.pcm = Track(b"", start, self._keep)
        self._pool, self._share = pool, share
        self._gathered = bytearray()
        self._encoded: dict[Format, Track] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False

    @property
    def over(self) -> bool:
        """Return whether the response has ended."""
        return self.status != "playing"

    @property
    def live_sample(self) -> int:
        """Return the sample at which a listener begins who names none."""
        return max(self.pcm.start, self.pcm.end - round(LEAD_SECONDS * SAMPLE_RATE))

    def add(self, pcm: bytes) -> None:
        """Add s16le samples of the response."""
        self._gathered += pcm
        while len(self._gathered) >= _CHUNK_BYTES:
            self._append(_CHUNK_BYTES)

    def end(self, status: FeedStatus) -> None:
        """Note the end of the response; listeners get the rest and then their end. Only the first call counts."""
        if not self.over:
            self._append(len(self._gathered))
            self.status, self.paused = status, False
            self.pcm.finish(failed=status == "failed")

    def track(self, wanted: Format) -> Track:
        """Return the audio in a format, whose encoder begins now if nobody listens to it yet."""
        if wanted in RAW:
            return self.pcm
        track = self._encoded.get(wanted)
        if track is None:
            head, encoder = joinable_encoder(wanted)
            track = self._encoded[wanted] = Track(head, self.pcm.start, self._keep)
            task = asyncio.create_task(self._encode(wanted, track, encoder))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return track

    def close(self) -> None:
        """Hold the audio no longer than its last listener needs it."""
        self.closed = True
        self._settle()

    def enter(self) -> None:
        """Count a listener of this process."""
        self.listeners += 1

    def leave(self) -> None:
        """Count a listener less."""
        self.listeners -= 1
        self._settle()

    def _settle(self) -> None:
        """Free everything once nobody needs it."""
        if self.closed and not self.listeners:
            for task in self._tasks:
                task.cancel()
            self._share.set(0)

    def _append(self, size: int) -> None:
        if size:
            chunk = Chunk(self.pcm.end, bytes(self._gathered[:size]))
            del self._gathered[:size]
            self.pcm.append(chunk, self.pcm.end + size // 2)

    async def _encode(self, wanted: Format, track: Track, encoder: Encoder) -> None:
        """Encode what is kept and what comes, until the end or while nobody listens."""
        failed = True
        try:
            failed = not await self._encode_all(track, encoder)
        except SlowListenerError:
            log.error("the encoder of a feed is too slow", format=wanted)
        except Exception:
            log.exception("the encoder of a feed failed", format=wanted)
        finally:
            if self._encoded.get(wanted) is track and (failed or not self.over):
                del self._encoded[wanted]
            track.finish(failed)

    async def _encode_all(self, track: Track, encoder: Encoder) -> bool:
        """Encode into a track; returns whether that is so to the end, and not given up for want of listeners."""
        number, heard = self.pcm.number_at(track.end), time.monotonic()
        while chunks := await self.pcm.take(number, _ENCODED_AT_ONCE):
            number += len(chunks)
            for chunk, data in zip(chunks, await self._pool.run(_pushed, encoder, chunks), strict=True):
                # A codec gives bytes out later than it takes samples; they are placed where the bytes before end.
                if data:
                    track.append(Chunk(track.end, data), chunk.start + len(chunk.data) // 2)
            heard = time.monotonic() if track.readers else heard
            if time.monotonic() - heard > _UNHEARD_SECONDS:
                return False
        if data := await self._pool.run(encoder.finish):
            track.append(Chunk(track.end, data), self.pcm.end)
        return True


def _pushed(encoder: Encoder, chunks: Sequence[Chunk]) -> list[bytes]:
    """Return what an encoder gives out for each chunk."""
    return [encoder.push(chunk.data) for chunk in chunks]
