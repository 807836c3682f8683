"""Bodies of a feed: from now, from a second that is kept, or a range of bytes; and the answer that sends one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from whispergpt.engine.config import HOP, SAMPLE_RATE
from whispergpt.server.audio.encoders import MEDIA_TYPES, Format, joinable_encoder
from whispergpt.server.edge.departure import or_gone
from whispergpt.server.errors import ApiError
from whispergpt.server.feeds.feed import RAW, Feed
from whispergpt.server.feeds.track import SlowListenerError, Track, joined
from whispergpt.server.http.continuation_answer import sound_headers
from whispergpt.server.http.play import FIRST_BYTES
from whispergpt.server.services import Services

_PART_BYTES = 65_536
_RANGE = re.compile(r"bytes ?= ?([0-9]{0,15})-([0-9]{0,15})")
_PROBE = re.compile(r"0-[01]")
"""Range that Safari asks for before it plays."""
_HEADS: dict[Format, bytes] = {wanted: joinable_encoder(wanted)[0] for wanted in RAW}


@dataclass(frozen=True)
class Body:
    """Part of a feed in one format.

    Attributes:
        head: bytes in front of the audio.
        sample: of the response, with which the audio begins; if compressed, with the frame or page that has it.
        skip: bytes from the sample on that are left out.
        length: bytes of the audio; None to the feed's end.
        content_range: header of an answer with status 206; None for 200.
    """

    head: bytes
    sample: int
    skip: int = 0
    length: int | None = None
    content_range: str | None = None

    async def parts(self, track: Track, raw: bool) -> AsyncIterator[bytes]:
        """Yield the bytes as they come.

        Raises:
            SlowListenerError: they are not kept any more.
        """
        if self.head:
            yield self.head
        left, skip = self.length, self.skip
        if left != 0:
            await track.reach(self.sample)
        number = track.number_at(self.sample)
        if raw:
            skip += max(0, 2 * (self.sample - track.start_of(number)))
        while left != 0 and (chunks := await track.take(number, _PART_BYTES)):
            number += len(chunks)
            data = joined(chunks)
            if skip or left is not None:
                data = data[skip:] if left is None else data[skip : skip + left]
                skip = 0
            if left is not None:
                left -= len(data)
            yield data


def first_sample(feed: Feed, seconds: float | None) -> int:
    """Return the sample at which a listener begins who asks for these seconds, or for none.

    Raises:
        ApiError: 416, they are not kept.
    """
    if seconds is None:
        return feed.live_sample
    sample = round(seconds * SAMPLE_RATE)
    if not feed.pcm.start <= sample <= feed.pcm.end:
        raise _not_kept(feed)
    return sample


def live_body(wanted: Format, track: Track, sample: int) -> Body:
    """Return the body from a sample on."""
    return Body(_HEADS[wanted] if wanted in RAW else track.head, sample)


def range_body(feed: Feed, wanted: Format, header: str) -> Body | None:
    """Return the part of a ``Range`` of pcm that is kept now, whose bytes count from the response's first sample.

    Of other formats there are the first two bytes. None is a range that is ignored, as that of all bytes is: players
    ask for it, and then want the audio to go on. A player that thinks that it can seek in a wav looks for its end.

    Raises:
        ApiError: 416, nothing of it is kept.
    """
    asked = _RANGE.fullmatch(header[:64].strip())
    named_first, named_last = asked.groups() if asked else ("", "")
    if not (named_first or named_last) or (named_first, named_last) == ("0", ""):
        return None
    if wanted != "pcm":
        if not _PROBE.fullmatch(f"{named_first}-{named_last}"):
            return None
        probed = FIRST_BYTES[wanted][: int(named_last) + 1]
        return Body(probed, 0, length=0, content_range=f"bytes 0-{named_last}/*")
    kept, end = 2 * feed.pcm.start, 2 * feed.pcm.end
    first, last = max(kept, end - int(named_last or 0)), end - 1
    if named_first:
        first, last = int(named_first), min(int(named_last or last), last)
        if named_last and int(named_last) < first:
            return None
    if not kept <= first <= last:
        raise _not_kept(feed)
    told = f"bytes {first}-{last}/{end if feed.over else '*'}"
    return Body(b"", first // 2, first % 2, last + 1 - first, told)


def _not_kept(feed: Feed) -> ApiError:
    start, end = feed.pcm.start / SAMPLE_RATE, feed.pcm.end / SAMPLE_RATE
    told = f"This is not kept: of this stream, the seconds {start:.3f} to {end:.3f} are here; ask for some of these."
    return ApiError(416, "not_kept", told)


def headers_of(feed: Feed, wanted: Format, sample: int) -> dict[str, str]:
    """Return the headers of an answer whose audio begins with this sample."""
    return sound_headers(feed.about.seed, feed.about.fingerprint) | {
        "Content-Type": MEDIA_TYPES[wanted],
        "Accept-Ranges": "bytes" if wanted == "pcm" else "none",
        "X-From-Seconds": f"{sample / SAMPLE_RATE:.6f}",
    }


class FeedAnswer(Response):
    """Sends a body to one listener. One that is cut off ends without its last chunk, so that the client sees it."""

    def __init__(self, services: Services, feed: Feed, wanted: Format, track: Track, body: Body) -> None:
        self.background = None
        self._services, self._feed, self._track, self._body = services, feed, track, body
        self._raw = wanted in RAW
        self.status_code = 200 if body.content_range is None else 206
        self._head = headers_of(feed, wanted, body.sample)
        if body.content_range is not None and body.length is not None:
            self._head |= {"Content-Range": body.content_range, "Content-Length": str(len(body.head) + body.length)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        metrics, outcome = self._services.metrics, "left"
        try:
            whole = await or_gone(receive, self._send(send))
            outcome = "completed" if whole else "failed"
        except (SlowListenerError, TimeoutError):
            outcome = "slow"
            metrics.slow_client.labels("cancelled").inc()
        except ClientDisconnect:
            pass
        finally:
            metrics.feed_listens.labels(outcome).inc()

    async def _send(self, send: Send) -> bool:
        """Send all of it; returns whether the response came to its end, and not to a failure.

        Raises:
            SlowListenerError: the listener is behind what is kept.
            TimeoutError: it takes nothing.
        """
        start = Response(None, self.status_code, self._head)
        if self._body.length is None:
            del start.headers["content-length"]  # of the empty body that this response does not send
        await send({"type": "http.response.start", "status": self.status_code, "headers": start.raw_headers})
        settings = self._services.settings
        seconds = min(settings.send_seconds, settings.feed_seconds)  # later it is behind what is kept
        async for part in self._body.parts(self._track, self._raw):
            async with asyncio.timeout(seconds):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        if self._body.length is None and (self._track.failed or self._feed.pcm.failed):
            return False
        async with asyncio.timeout(seconds):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True


def total_seconds(feed: Feed) -> float | None:
    """Return the seconds of the whole response, as asked for; None without an end."""
    return None if feed.about.frames is None else feed.about.frames * HOP / SAMPLE_RATE
