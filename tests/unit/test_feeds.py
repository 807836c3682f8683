"""Feeds without a server: what is kept, who is woken, and whose account pays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from whispergpt.server.access.api_keys import add_key
from whispergpt.server.access.caller import Caller
from whispergpt.server.access.guard import Guard
from whispergpt.server.admission.admission import Admission
from whispergpt.server.audio.audio_io import AudioPool
from whispergpt.server.errors import ApiError
from whispergpt.server.feeds.feed import Feed, bytes_held
from whispergpt.server.feeds.feeds import Feeds
from whispergpt.server.feeds.track import Chunk, SlowListenerError, Track, joined
from whispergpt.server.ledger import OwnLedger
from whispergpt.server.observe.metrics import Metrics
from whispergpt.server.settings import Settings

SECOND = bytes(2 * 24_000)


def test_a_track_keeps_the_newest_and_wakes_a_large_audience_in_turns() -> None:
    async def listen(track: Track, woken: list[int]) -> bytes:
        number, heard = track.next_number, b""
        while chunks := await track.take(number, 10):
            woken.append(len(chunks))
            number, heard = number + len(chunks), heard + joined(chunks)
        return heard

    async def run() -> None:
        track, woken = Track(b"", 100, keep=30), list[int]()
        listeners = [asyncio.create_task(listen(track, woken)) for _ in range(200)]
        await asyncio.sleep(0)
        track.append(Chunk(100, b"a" * 20), 110)
        await asyncio.sleep(0)
        assert 0 < len(woken) < 100, "other work has its turn before all are awake"
        for at in range(110, 150, 10):
            track.append(Chunk(at, b"b" * 20), at + 10)
        assert (track.start, track.end) == (120, 150)
        assert [track.number_at(sample) for sample in (0, 120, 129, 130, 149, 900)] == [2, 2, 2, 3, 4, 4]
        with pytest.raises(SlowListenerError):
            track.available(1, 10)
        with pytest.raises(SlowListenerError):
            await listeners[-1]  # whose turn did not come before its chunk was gone
        track.finish()
        ends = await asyncio.gather(*listeners, return_exceptions=True)
        assert {type(end) for end in ends} == {SlowListenerError}

    asyncio.run(run())


def run_with_feeds(keys: Path, memory_feeds: float, work: Callable[[Feeds, Guard, Admission], Awaitable[None]]) -> None:
    """Run ``work`` where all feeds together have the memory of so many."""

    async def run() -> None:
        memory = round(memory_feeds * bytes_held(30))
        settings = Settings(keys=keys, feed_memory_bytes=memory, max_listeners=8)
        ledger, pool = OwnLedger(), AudioPool(1)
        guard, admission = Guard(settings, ledger), Admission(settings, ledger)
        feeds = Feeds(settings, ledger, Metrics(), guard, admission, pool)
        try:
            await work(feeds, guard, admission)
        finally:
            feeds.close()
            pool.close()

    asyncio.run(run())


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys.toml"
    for name in ("studio", "other"):
        add_key(file, name, None, None)
    return file


def opened(feeds: Feeds, caller: Caller) -> Feed:
    return feeds.open(caller, "speech", "print", 1, None, 0)


def test_a_keys_account_pays_for_its_feeds_until_the_last_listener_has_left(keys: Path) -> None:
    async def work(feeds: Feeds, guard: Guard, admission: Admission) -> None:
        studio, other = (guard.caller_with(identity) for identity in guard.keys)
        first = opened(feeds, studio)
        with pytest.raises(ApiError, match="memory for feeds") as refused:
            for _ in range(8):
                opened(feeds, studio)
        assert refused.value.status == 429 and refused.value.close_code is None
        held = admission.feeds.bytes_of(studio)
        assert opened(feeds, other) and admission.feeds.bytes_of(studio) == held, "room is left for others"
        with feeds.listening(first, "pcm"):
            feeds.end(first, "cancelled", at_once=True)
            with pytest.raises(ApiError, match="No stream has this token"):
                await feeds.find(first.about.token)
            assert admission.feeds.bytes_of(studio) == held
        assert admission.feeds.bytes_of(studio) == held - bytes_held(30)

    run_with_feeds(keys, 10, work)


def test_one_keys_listeners_leave_room_for_anothers(keys: Path) -> None:
    async def work(feeds: Feeds, guard: Guard, _: Admission) -> None:
        mine, theirs = (opened(feeds, guard.caller_with(identity)) for identity in guard.keys)
        listening = [feeds.listening(mine, "pcm") for _ in range(4)]
        for one in listening:
            one.__enter__()
        with pytest.raises(ApiError, match="places of listeners"), feeds.listening(mine, "pcm"):
            pass
        with feeds.listening(theirs, "pcm"):
            assert (feeds.listeners(mine), feeds.listeners(theirs)) == (4, 1)
        for one in listening:
            one.__exit__(None, None, None)
        assert feeds.listeners(mine) == 0

    run_with_feeds(keys, 10, work)


def test_a_compressed_format_is_made_once_and_from_what_is_kept(keys: Path) -> None:
    async def work(feeds: Feeds, guard: Guard, _: Admission) -> None:
        feed = opened(feeds, guard.caller_with(next(iter(guard.keys))))
        for _ in range(40):
            feed.add(SECOND)
        assert 9.5 < feed.pcm.start / 24_000 <= 10 and feed.live_sample == feed.pcm.end - 2 * 24_000
        with feeds.listening(feed, "opus") as track, feeds.listening(feed, "opus") as same:
            assert track is same
            await track.reach(feed.live_sample)
            feed.end("completed")
            while not track.over:
                await track.change()
            assert track.start == feed.pcm.start and track.end == feed.pcm.end and not track.failed

    run_with_feeds(keys, 10, work)
