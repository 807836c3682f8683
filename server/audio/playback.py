"""Playback of one continuation: its frames grouped into messages, and its lead ahead of the listener."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.messages.links import CREDIT_FRAMES
from whispergpt.engine.playback_clock import BUFFER_SECONDS, PlaybackClock
from whispergpt.server.link.stream_handle import StreamHandle
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.observe.tracing import Tracing

MESSAGE_FRAMES = 6
"""Frames (80 ms) that one message of samples holds at most."""
OPUS_FRAMES = 12
"""Frames (160 ms) that one message of Opus holds at most: two of its pages."""
_LEAST_FRAMES = 3
"""Frames (40 ms) that a message holds at least, the first one aside: smaller ones cost too much to send."""
_SAFE_LEAD_SECONDS = 0.25
"""Lead in seconds from which messages of 80 ms are filled before they are sent, and twice that for 160 ms."""


class PlayingStreams:
    """Realtime streams that play."""

    def __init__(self) -> None:
        self.streams: set[Playback] = set()

    def least_lead(self) -> float:
        """Return the smallest lead in seconds, 0 where nothing plays."""
        return min((stream.lead for stream in self.streams if stream.sounds), default=0.0)


class Playback:
    """Clock of one continuation.

    Args:
        began: time of the request, on ``time.perf_counter``'s clock.
        realtime: whether the client listens while it plays, so that falling behind is heard.
        route: for the metrics.
        skipped: frames at the stream's start that the client has already.
    """

    def __init__(
        self,
        stream: StreamHandle,
        metrics: Metrics,
        tracing: Tracing,
        route: str,
        began: float,
        realtime: bool,
        skipped: int = 0,
    ) -> None:
        self.frames = 0
        self.handed = 0
        """Frames given out by ``messages``; the last ones may not be sent yet."""
        self.first_frame_seconds: float | None = None
        """Seconds from ``began`` to the first frame's arrival in the server."""
        self.first_audio_seconds: float | None = None
        """Seconds from ``began`` to the first audio handed to the socket."""
        self._stream, self._metrics, self._tracing, self._route = stream, metrics, tracing, route
        self._began, self._realtime, self._skipped = began, realtime, skipped
        self._plays_since = 0.0
        self._last = began
        self._paused_at: float | None = None
        self._paused_seconds = 0.0
        self._player = PlaybackClock(BUFFER_SECONDS)
        self._gathered_frames = 0
        """Frames that a codec holds and gave nothing out of yet."""
        self._largest_gap = 0.0
        """Longest gap of the player so far, in seconds."""

    async def all(self) -> bytes:
        """Return the whole stream at once; it counts as handed to the socket at its end.

        Raises:
            ApiError: the stream failed.
        """
        frames: list[bytes] = []
        while taken := await self._stream.take(CREDIT_FRAMES):
            self.first_frame_seconds = self.first_frame_seconds or time.perf_counter() - self._began
            frames += taken
        if frames:
            self.sent(len(frames))
        return b"".join(frames)

    async def messages(self, most: int = MESSAGE_FRAMES) -> AsyncIterator[bytes]:
        """Yield the stream's s16le samples: one frame at once, then three to ``most``. Their sender calls ``sent``.

        Raises:
            ApiError: the stream failed.
        """
        while self._skipped and (known := await self._stream.take(self._skipped)):
            self._skipped -= len(known)
        limit = 1
        while True:
            filled = int(self.lead / _SAFE_LEAD_SECONDS) * MESSAGE_FRAMES
            at_least = min(limit, max(_LEAST_FRAMES, filled))
            frames = await self._stream.take(limit, at_least)
            if not frames:
                return
            self.first_frame_seconds = self.first_frame_seconds or time.perf_counter() - self._began
            self.handed += len(frames)
            yield b"".join(frames)
            limit = most

    @property
    def sounds(self) -> bool:
        """Return whether audio was handed to the socket."""
        return self.first_audio_seconds is not None

    @property
    def lead(self) -> float:
        """Return the seconds of audio that are sent and not played yet, if playback began with the first."""
        if not self.sounds:
            return 0.0
        return self.frames / FRAME_RATE - (self._now - self._plays_since)

    @property
    def _now(self) -> float:
        """Return the time on ``time.perf_counter``'s clock, which stands still during a pause."""
        return time.perf_counter() if self._paused_at is None else self._paused_at

    @property
    def realtime_factor(self) -> float:
        """Return seconds of audio sent over wall seconds since the request, without pauses."""
        wall = self._last - self._began - self._paused_seconds
        return self.frames / FRAME_RATE / wall if wall > 0 else 0.0

    def pause(self, paused: bool) -> None:
        """Stop the clock with the player, or let it go on."""
        if paused:
            self._paused_at = time.perf_counter()
        elif self._paused_at is not None:
            stood = time.perf_counter() - self._paused_at
            self._paused_at, self._paused_seconds = None, self._paused_seconds + stood
            self._plays_since += stood

    def finish(self) -> None:
        """Record the real-time factor, and the longest gap that a listener in real time heard."""
        if self.frames:
            self._metrics.realtime_factor.labels(self._stream.model.id).observe(self.realtime_factor)
        if self.sounds and self._realtime:
            self._player.end(self._now - self._paused_seconds, complete=self._stream.status == "completed")
            self._count_gaps()
            self._metrics.largest_gap.labels(self._stream.model.id, self._route).observe(self._largest_gap)

    def sent(self, count: int, dropped: int = 0, gathering: bool = False) -> None:
        """Note frames that were handed to the socket, behind some that were dropped for a slow listener.

        Args:
            gathering: whether a codec holds them and gave nothing out yet.
        """
        self.frames += dropped
        now = time.perf_counter()
        self._last = now
        model = self._stream.model.id
        self._gathered_frames += count
        if not gathering:
            self._play_gathered()
        if not self.sounds and not gathering:
            self.first_audio_seconds, self._plays_since = now - self._began - self._paused_seconds, now
            # Exemplars lead from a metric to the traces behind it.
            waited, exemplar = self.first_audio_seconds, self._tracing.exemplar()
            self._metrics.time_to_first_audio.labels(model, self._route).observe(waited, exemplar)
            self._tracing.past("first_audio", waited)
        elif self.sounds and self._realtime and (behind := -self.lead) > 0:
            self._plays_since += behind  # the player waited that long and goes on from here
        self.frames += count

    def gathered(self) -> None:
        """Note that the codec gave out the last that it held: of a short stream that is everything."""
        if self.frames and not self.sounds:
            self.sent(0)
        elif self._gathered_frames:
            self._play_gathered()

    def _play_gathered(self) -> None:
        """Hand the player what was gathered; pauses stop its clock."""
        self._player.arrive(self._now - self._paused_seconds, self._gathered_frames / FRAME_RATE)
        self._gathered_frames = 0
        self._count_gaps()

    def _count_gaps(self) -> None:
        """Count the player's new gaps if they are heard, and forget all but the longest, whose number has no bound."""
        if self._realtime and self._player.gaps:
            self._metrics.underruns.labels(self._stream.model.id).inc(len(self._player.gaps))
            self._largest_gap = max(self._largest_gap, self._player.largest_gap)
        self._player.gaps.clear()
