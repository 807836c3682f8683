"""Feeds of other front ends: each front end has one copy of a feed for all of its listeners.

Front ends follow each other's feeds over Unix sockets in a folder of this server. The token of a feed begins with the
name of the front end that plays the response.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import msgspec

from whispergpt.server.errors import ApiError
from whispergpt.server.feeds.feed import About, Checkpoint, Feed, FeedStatus
from whispergpt.server.feeds.feeds import AFTER_SECONDS, Feeds
from whispergpt.server.feeds.track import SlowListenerError, joined
from whispergpt.server.observe import logs
from whispergpt.server.workers.messages import Channel

log = logs.get("server.feeds")
_CONNECT_SECONDS = 5.0
_NEWS_BYTES = 1 << 27
"""Bytes of one message at most: more than a feed can keep."""
_STATE_SECONDS = 1.0
"""Seconds between looks at a feed that has no new audio: it may have paused."""
_UNHEARD_NEWS = 40
"""Messages (10 s of audio) after which a copy that nobody listens to is given up."""


class FollowFeed(msgspec.Struct, frozen=True, tag=True):
    """Send the feed of this token, as it is kept and then as it goes on."""

    token: str


class FeedFound(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``FollowFeed``; ``start``: sample of the response that the audio begins with."""

    about: About
    start: int


class FeedNews(msgspec.Struct, frozen=True, tag=True):
    """Samples of a feed that came, and its state after them.

    Attributes:
        findable: whether the token opens the feed.
        checkpoint: None if it is that of the message before.
    """

    pcm: bytes
    paused: bool
    status: FeedStatus
    findable: bool
    checkpoint: Checkpoint | None = None


_Told: TypeAlias = FeedFound | FeedNews


class FeedRelay:
    """One front end's part: gives its feeds to the others, and follows theirs.

    Args:
        place: name of this front end.
        folder: of the sockets, which other users cannot enter.
    """

    def __init__(self, place: str, folder: Path) -> None:
        self.place = place
        self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        self._copies: dict[str, asyncio.Task[Feed | None]] = {}
        self._following: set[asyncio.Task[None]] = set()
        self._feeds: Feeds | None = None

    async def serve(self, feeds: Feeds) -> None:
        """Give the feeds of this process to other front ends, until cancelled."""
        self._feeds = feeds
        with self._listener() as listener:
            server = await asyncio.start_unix_server(self._give, sock=listener)
            try:
                await asyncio.get_running_loop().create_future()  # for ever
            finally:
                server.close()

    async def find(self, token: str) -> Feed | None:
        """Return the copy of another front end's feed, which is made for the first who asks."""
        place, _, secret = token.partition(".")
        if not (place.isascii() and place.isdecimal() and secret) or place == self.place or len(place) > 4:
            return None
        while True:
            copy = self._copies.get(token)
            if copy is None:
                copy = self._copies[token] = asyncio.create_task(self._follow(place, token))
                copy.add_done_callback(lambda done: self._settle(token, done))
            feed = await asyncio.shield(copy)
            if feed is None or not feed.closed:  # else it was given up meanwhile
                return feed

    def _listener(self) -> socket.socket:
        """Return the socket that other front ends connect to, in place of that of an earlier process of this name."""
        path = self._path(self.place)
        Path(path).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        return listener

    def _path(self, place: str) -> str:
        """Return the address of a front end, short whatever the folder's name is."""
        return f"/proc/self/fd/{self._folder}/feeds-{place}"

    def _settle(self, token: str, done: asyncio.Task[Feed | None]) -> None:
        """Forget a copy that could not be made."""
        if done.cancelled() or done.exception() is not None or done.result() is None:
            self._copies.pop(token, None)

    # --- the side that has the feed

    async def _give(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._feeds is not None
        channel = Channel(reader, writer, FollowFeed)
        try:
            asked = await channel.receive()
            if asked is not None and (feed := self._feeds.own(asked.token)) is not None:
                await self._give_feed(feed, channel)
        except (ConnectionError, SlowListenerError, msgspec.ValidationError) as error:
            log.info("a front end follows a feed no longer", why=type(error).__name__)
        finally:
            channel.close()

    async def _give_feed(self, feed: Feed, channel: Channel) -> None:
        """Send what is kept, then what comes, to the end.

        Raises:
            ConnectionError: the other front end follows no longer.
            SlowListenerError: it is too slow.
        """
        assert self._feeds is not None
        pcm, told = feed.pcm, None
        channel.post(FeedFound(feed.about, pcm.start))
        number, checkpoint = pcm.number_at(pcm.start), None
        while True:
            chunks = pcm.available(number, _NEWS_BYTES)
            number += len(chunks)
            findable = self._feeds.own(feed.about.token) is feed
            state = (feed.paused, feed.status, findable, feed.checkpoint)
            if chunks or state != told:
                told = state
                new = feed.checkpoint if feed.checkpoint != checkpoint else None
                checkpoint = feed.checkpoint
                channel.post(FeedNews(joined(chunks), feed.paused, feed.status, findable, new))
                await channel.flush()
            elif feed.over:
                return
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_STATE_SECONDS):
                        await pcm.change()

    # --- the side that follows

    async def _follow(self, place: str, token: str) -> Feed | None:
        """Return a copy of a feed with the audio that is kept; None where the front end or the feed is gone.

        Raises:
            ApiError: 429, there is no memory for a copy.
        """
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._path(place))
        except (OSError, TimeoutError):
            return None
        channel = Channel(reader, writer, _Told)
        channel.post(FollowFeed(token))
        try:
            found = await channel.receive()
            if not isinstance(found, FeedFound):
                channel.close()
                return None
            assert self._feeds is not None
            copy = self._feeds.copy(found.about, found.start)
        except ApiError:
            channel.close()
            raise
        first = await channel.receive()  # the audio that is kept, or the most of it
        if isinstance(first, FeedNews):
            _tell(copy, first)
        task = asyncio.create_task(self._keep_up(copy, channel))
        self._following.add(task)
        task.add_done_callback(self._following.discard)
        return copy

    async def _keep_up(self, copy: Feed, channel: Channel) -> None:
        """Add what comes to a copy, until the feed ends or nobody has listened to the copy for some time."""
        unheard, findable = 0, True
        try:
            while not copy.over and unheard < _UNHEARD_NEWS:
                news = await channel.receive()
                if not isinstance(news, FeedNews):
                    break
                _tell(copy, news)
                findable = news.findable
                unheard = 0 if copy.listeners else unheard + 1
            channel.close()
            if copy.over and findable:
                await asyncio.sleep(AFTER_SECONDS)
        finally:
            self._copies.pop(copy.about.token, None)
            copy.end("failed")  # unless it has ended as the feed did
            copy.close()


def _tell(copy: Feed, news: FeedNews) -> None:
    """Bring a copy up to date."""
    copy.add(news.pcm)
    copy.checkpoint = news.checkpoint or copy.checkpoint
    copy.paused = news.paused
    if news.status != "playing":
        copy.end(news.status)
