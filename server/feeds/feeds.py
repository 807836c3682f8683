"""All feeds of this process by their tokens, with the bounds of their memory and of their listeners."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

from whispergpt.server.access.caller import Caller, name_of
from whispergpt.server.access.guard import Guard
from whispergpt.server.admission.admission import Admission
from whispergpt.server.admission.held_bytes import Share
from whispergpt.server.audio.audio_io import AudioPool
from whispergpt.server.audio.encoders import Format
from whispergpt.server.errors import ApiError
from whispergpt.server.feeds.feed import About, Feed, FeedStatus, bytes_held
from whispergpt.server.feeds.track import Track
from whispergpt.server.ledger import Ledger, Number
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.settings import Settings

AFTER_SECONDS = 10.0
"""Seconds after a response's end for which its feed can still be listened to."""
_TOKEN_BYTES = 24
_LISTENERS = "feed listeners"


class Elsewhere(Protocol):
    """Feeds of the other front ends of a server.

    Attributes:
        place: name of this process, which the tokens of its feeds begin with.
    """

    place: str

    async def find(self, token: str) -> Feed | None:
        """Return a copy of another front end's feed, None where there is no such feed."""
        ...


class Feeds:
    """Opens and finds feeds, and counts their listeners for the owners.

    Args:
        pool: threads that encode.
        elsewhere: the other front ends; None where there are none.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        metrics: Metrics,
        guard: Guard,
        admission: Admission,
        pool: AudioPool,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._settings, self._ledger, self._guard, self._pool = settings, ledger, guard, pool
        self._admission, self._elsewhere = admission, elsewhere
        self._place = "0" if elsewhere is None else elsewhere.place
        self._all, self._open = ledger.number(_LISTENERS), ledger.number("feeds")
        self._feeds: dict[str, Feed] = {}
        self._made: WeakSet[Feed] = WeakSet()
        """Feeds and copies that somebody still has."""
        self._counters: deque[int] = deque()
        """Counters of listeners that no feed has, the one that was given back first in front."""
        self._counted = 0
        metrics.feeds.set_function(lambda: self._open.total)
        metrics.feed_listeners.set_function(lambda: self._all.total)

    def open(self, caller: Caller, model: str, fingerprint: str, seed: int, frames: int | None, start: int) -> Feed:
        """Return a new feed of a caller's response.

        Args:
            frames: of the whole response; None without an end.
            start: sample of the response that the audio begins with.

        Raises:
            ApiError: 429, there is no memory for another.
        """
        share = self._reserve(caller)
        if not self._counters:
            self._counters.append(self._counted)
            self._counted += 1
        counter = f"{self._place}.{self._counters.popleft()}"
        token = f"{self._place}.{secrets.token_urlsafe(_TOKEN_BYTES)}"
        about = About(token, caller.identity, counter, model, fingerprint, seed, frames)
        feed = self._feeds[token] = self._new(about, start, share)
        self._open.part += 1
        return feed

    def copy(self, about: About, start: int) -> Feed:
        """Return an empty copy of another front end's feed, whose memory counts for its owner too.

        Raises:
            ApiError: as ``open``.
        """
        return self._new(about, start, self._reserve(self._guard.caller_with(about.owner)))

    def own(self, token: str) -> Feed | None:
        """Return a feed of this process."""
        return self._feeds.get(token)

    async def find(self, token: str) -> Feed:
        """Return the feed of a token, whichever front end has it.

        Raises:
            ApiError: 404, there is none, or none any more; 429, there is no memory for a copy.
        """
        feed = self._feeds.get(token)
        if feed is None and self._elsewhere is not None:
            feed = await self._elsewhere.find(token)
        if feed is None:
            told = "No stream has this token: it ended, its owner took the token back, or the address is incomplete."
            raise ApiError(404, "wrong_token", told)
        return feed

    def end(self, feed: Feed, status: FeedStatus, at_once: bool = False) -> None:
        """End a feed with its response. It can be found for some seconds more, unless it is to end at once."""
        if feed.over and not at_once:
            return
        feed.end(status)
        if at_once:
            self._forget(feed)
        else:
            asyncio.get_running_loop().call_later(AFTER_SECONDS, self._forget, feed)

    def listeners(self, feed: Feed) -> int:
        """Return the listeners of a feed at all front ends."""
        return int(self._of_feed(feed).total)

    @contextmanager
    def listening(self, feed: Feed, wanted: Format) -> Iterator[Track]:
        """Count a listener of a feed, and give the audio in its format.

        Raises:
            ApiError: 429, there are too many listeners.
        """
        numbers = (self._all, self._of_feed(feed), self._ledger.number(*name_of(_LISTENERS, feed.about.owner)))
        with self._ledger.turn:
            self._require_room(feed)
            for number in numbers:
                number.part += 1
        self._admission.count_listeners(1)
        feed.enter()
        try:
            track = feed.track(wanted)
            track.readers += 1
            try:
                yield track
            finally:
                track.readers -= 1
        finally:
            feed.leave()
            self._admission.count_listeners(-1)
            for number in numbers:
                number.part -= 1

    def close(self) -> None:
        """End all feeds, with their encoders, when the server ends."""
        for feed in list(self._made):
            feed.end("failed")
            feed.close()

    def _new(self, about: About, start: int, share: Share) -> Feed:
        feed = Feed(about, start, self._settings.feed_seconds, self._pool, share)
        self._made.add(feed)
        return feed

    def _of_feed(self, feed: Feed) -> Number:
        return self._ledger.number(_LISTENERS, "of feed", feed.about.counter)

    def _require_room(self, feed: Feed) -> None:
        """Refuse a listener beyond the bounds: of one feed, of all, and of what a key leaves for others.

        Raises:
            ApiError: 429.
        """
        settings = self._settings
        most, again = settings.max_feed_listeners, settings.retry_after_seconds
        if self.listeners(feed) >= most:
            told = f"This stream has {most} listeners, the most; try again in {again} s."
            raise ApiError(429, "no_capacity", told, retry_after=again)
        theirs = self._ledger.number(*name_of(_LISTENERS, feed.about.owner)).total
        room = settings.max_listeners - (self._all.total - theirs)
        if not self._guard.caller_with(feed.about.owner).alone:
            room *= settings.memory_share
        if theirs + 1 > room:
            told = f"All places of listeners that this stream may have here are taken; try again in {again} s."
            raise ApiError(429, "no_capacity", told, retry_after=again)

    def _reserve(self, caller: Caller) -> Share:
        """Return a share of the memory for one feed.

        Raises:
            ApiError: 429, there is none left.
        """
        share = Share(self._admission.feeds, caller)
        try:
            share.set(bytes_held(self._settings.feed_seconds))
        except ApiError:
            again = self._settings.retry_after_seconds
            told = f"The memory for feeds that this key may use is taken; end a response with one, or wait {again} s."
            refused = ApiError(429, "no_capacity", told, retry_after=again)
            refused.close_code = None  # the session goes on without it
            raise refused from None
        return share

    def _forget(self, feed: Feed) -> None:
        if self._feeds.pop(feed.about.token, None) is not None:
            self._open.part -= 1
            self._counters.append(int(feed.about.counter.rpartition(".")[2]))
            feed.close()
