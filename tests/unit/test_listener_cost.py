"""What keeps a listener cheap: one wake-up, one timer and one frame of the protocol for a message."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, Histogram
from websockets.frames import Frame, Opcode

from whispergpt.engine.config import HOP
from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.stream_plan import SamplingParams, StreamPlan
from whispergpt.load.ogg import OPUS_RATE, granules
from whispergpt.server.audio.audio_io import AudioPool
from whispergpt.server.audio.encoders import encoder
from whispergpt.server.audio.playback import MESSAGE_FRAMES, OPUS_FRAMES, Playback
from whispergpt.server.edge.ws_protocol import message_head
from whispergpt.server.errors import ApiError
from whispergpt.server.link.patience import Patience
from whispergpt.server.link.stream_handle import StreamHandle
from whispergpt.server.observe.metrics import Metrics, observe_many
from whispergpt.server.observe.tracing import Tracing


class Link:
    """An engine link that only takes note."""

    stall_seconds, hold_seconds = 0.15, 0.05

    def __init__(self) -> None:
        self.taken: list[int] = []

    def acknowledge(self, stream_id: int, taken: int) -> None:
        self.taken.append(taken)

    def note(self, stream: StreamHandle) -> None: ...

    def post(self, command: object) -> None: ...


class Visit:
    def go_on(self, frames: int) -> None: ...


def handle(link: Link) -> StreamHandle:
    model = ModelInfo("speech", 1, 24_000, 75, {}, "unknown", "f", slots=4)
    plan = StreamPlan(SamplingParams(seed=1, temperature=1.0, top_k=0, top_p=1.0), 75, "realtime")
    return StreamHandle(cast(Any, link), 1, model, plan, cast(Any, Visit()))


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_reader_wakes_once_for_all_the_frames_that_it_wants() -> None:
    async def play() -> None:
        link, wakes = Link(), 0
        stream = handle(link)
        notify = stream._notify

        def count() -> None:
            nonlocal wakes
            wakes += 1
            notify()

        stream._notify = count  # type: ignore[method-assign]
        taking = asyncio.create_task(stream.take(6, 6))
        for number in range(6):
            await turns()
            assert not taking.done() and wakes == 0
            assert stream.deliver(bytes([number]), float(number)) == (number - 1 if number else None)
        assert await taking == [bytes([number]) for number in range(6)] and wakes == 1 and link.taken == [6]

        taking = asyncio.create_task(stream.take(6, 6))
        await turns()
        stream.deliver(b"last", 7.0)
        stream.end("completed")
        assert await taking == [b"last"], "the end does not wait for as many"
        assert await stream.take(6, 6) == []

    asyncio.run(play())


def test_an_engine_that_gives_too_little_is_waited_for_while_frames_come() -> None:
    async def play() -> None:
        stream = handle(Link())
        taking = asyncio.create_task(stream.take(6, 6))
        for _ in range(3):
            await asyncio.sleep(0.1)
            stream.deliver(b"x", time.perf_counter())
        began = time.perf_counter()
        assert len(await taking) == 3, "frames that came before the failure are given out"
        assert 0.05 < time.perf_counter() - began < 5
        with pytest.raises(ApiError, match="gave no audio for 0.15 s"):
            await stream.take(6, 6)

        held = handle(Link())
        held.hold(True)
        with pytest.raises(ApiError, match=r"paused for 0\.05 s"):
            await held.take(6)

    asyncio.run(play())


def test_one_timer_serves_many_waits() -> None:
    async def wait() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        timers, call_at = 0, loop.call_at

        def counted(*arguments: Any, **named: Any) -> asyncio.TimerHandle:
            nonlocal timers
            timers += 1
            return call_at(*arguments, **named)

        loop.call_at = counted  # type: ignore[method-assign]
        patience = Patience(ended.set)
        for _ in range(1000):
            patience.begin(30)
            patience.end()
        assert timers == 1
        patience.begin(0.02)
        await ended.wait()
        assert timers == 2, "a shorter wait has an earlier timer"
        patience.close()

    asyncio.run(wait())


@pytest.mark.parametrize("size", [0, 125, 126, 3840, 65_535, 65_536, 100_000])
@pytest.mark.parametrize("opcode", [Opcode.BINARY, Opcode.TEXT])
def test_a_message_has_the_head_that_the_library_gives_it(opcode: Opcode, size: int) -> None:
    assert message_head(opcode, size) + bytes(size) == Frame(opcode, bytes(size)).serialize(mask=False)


def test_observing_many_at_once_is_observing_each() -> None:
    one, many = (Histogram("x", "x", registry=CollectorRegistry(), buckets=(0.1, 1)) for _ in range(2))
    for amount, count in ((0.05, 3), (0.1, 2), (0.5, 4), (7.0, 2)):
        observe_many(many, amount, count)
        for _ in range(count):
            one.observe(amount)
    assert [(s.name, s.labels, s.value) for m in many.collect() for s in m.samples] == [
        (s.name, s.labels, pytest.approx(s.value)) for m in one.collect() for s in m.samples
    ]


def test_works_are_done_in_threads_and_an_error_is_that_works_alone() -> None:
    async def work() -> None:
        pool = AudioPool(2)
        try:
            threads = await asyncio.gather(*(pool.run(threading.get_ident) for _ in range(8)))
            assert len(set(threads)) <= 2 and threading.get_ident() not in threads
            done = await asyncio.gather(*(pool.run(divmod, 7, by) for by in (2, 0, 3)), return_exceptions=True)
            assert done[0] == (3, 1) and isinstance(done[1], ZeroDivisionError) and done[2] == (2, 1)
        finally:
            pool.close()
        with pytest.raises(asyncio.CancelledError):
            await pool.run(divmod, 1, 1)

    asyncio.run(work())


def test_works_that_a_closed_pool_did_not_begin_are_cancelled() -> None:
    async def work() -> None:
        pool, begun, go = AudioPool(1), threading.Event(), threading.Event()
        first = asyncio.create_task(pool.run(lambda: begun.set() or go.wait()))
        second = asyncio.create_task(pool.run(divmod, 1, 1))
        await asyncio.to_thread(begun.wait)
        pool.close()
        with pytest.raises(asyncio.CancelledError):
            await second
        go.set()
        assert await first is True

    asyncio.run(work())


@pytest.mark.parametrize(("most", "sizes"), [(MESSAGE_FRAMES, [1, 3, 6, 6]), (OPUS_FRAMES, [1, 3, 6, 12])])
def test_messages_are_longer_the_more_is_sent_ahead(most: int, sizes: list[int]) -> None:
    async def play() -> None:
        stream = handle(Link())
        playback = Playback(stream, Metrics(), Tracing(False), "/stream", time.perf_counter(), realtime=True)
        messages = playback.messages(most)
        for size, ahead in zip(sizes, (0, 0, 30, 600), strict=True):
            playback.frames += ahead
            for _ in range(size - 1):
                stream.deliver(bytes(2 * HOP), 0.0)
            taking = asyncio.ensure_future(anext(messages))
            await turns()
            assert not taking.done()
            stream.deliver(bytes(2 * HOP), 0.0)
            assert len(await taking) == size * 2 * HOP
            playback.sent(size)

    asyncio.run(play())


def test_the_time_of_opus_is_that_of_its_samples() -> None:
    opus, heard = encoder("opus", 0), 0
    for _ in range(50):
        if pages := opus.push(bytes(2 * 1920)):
            assert granules(pages) > heard
            heard = granules(pages)
    heard = granules(opus.finish())
    assert heard == pytest.approx(50 * 0.08 * OPUS_RATE, abs=0.04 * OPUS_RATE)
    with pytest.raises(ValueError, match="no Ogg page"):
        granules(b"RIFF")
