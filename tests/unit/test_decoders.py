"""Decoders in processes of their own: what they give back, and what becomes of those that end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from tests.support.audio import encode, encode_with_ffmpeg, speech
from tests.support.odd_files import film, wave_header
from tests.support.processes import alive, busy_child, children, stat, stopped
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from whispergpt.engine.audio.audio_file import cut_prompt, read_audio
from whispergpt.engine.audio.limits import AudioError
from whispergpt.engine.audio.wire import (
    ANSWER,
    ASK,
    END,
    FORK,
    MOST_SAMPLE_BYTES,
    NOT_YET,
    REFUSED,
    SAMPLES,
    TOLD,
    UPLOAD,
)
from whispergpt.server.access.caller import Caller
from whispergpt.server.access.precedence import Precedence
from whispergpt.server.decoding.decoder import LONG_NICENESS, Decoder, DecoderLost
from whispergpt.server.decoding.nursery import Child, Nursery, NurseryError
from whispergpt.server.decoding.pool import DecoderPool
from whispergpt.server.errors import ApiError
from whispergpt.server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SHORT = encode(speech(2.0))
ANYBODY = Caller(alone=True)


@cache
def slow_upload() -> bytes:
    """Seconds of work: 59 seconds of noise on 64 channels."""
    noise = np.random.default_rng(0).standard_normal((24_000, 64)) * 0.01
    return encode(noise, 48_000, "OGG", "VORBIS") * 118


def expected(data: bytes) -> bytes:
    return cut_prompt(read_audio(data)).astype("<f4").tobytes()


@contextlib.asynccontextmanager
async def started(precedence: Precedence | None = None, **settings: float) -> AsyncIterator[DecoderPool]:
    pool = DecoderPool(Settings(**settings), precedence or Precedence())
    pool.start()
    try:
        yield pool
    finally:
        pool.close()


async def refusal(pool: DecoderPool, data: bytes, caller: Caller = ANYBODY) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await pool.decode(data, caller)
    return refused.value


async def busy(pool: DecoderPool) -> int:
    """The decoder that works."""
    nursery = pool.nursery_pid
    assert nursery is not None
    return await asyncio.to_thread(wait_until, lambda: busy_child(nursery), "a decoder works", PATIENCE_SECONDS)


async def test_samples_are_those_of_this_process() -> None:
    stereo = np.repeat(speech(2.0, 48_000)[:, None], 2, 1)
    files = [
        SHORT,
        encode(speech(2.0, 44_100), 44_100, "FLAC"),
        encode(stereo, 48_000, "OGG", "OPUS") * 2,
        encode(speech(2.0), format="MP3"),
        encode_with_ffmpeg(speech(2.0), 24_000, "ipod", "aac"),
        encode_with_ffmpeg(speech(2.0, 48_000), 48_000, "webm", "libopus"),
        encode_with_ffmpeg(speech(2.0), 24_000, "adts", "aac"),
        film("matroska", [("alac", speech(2.0, 48_000), True)]),
        wave_header(24, 24_000) + bytes(24_000 * 24 * 2),
    ]
    async with started() as pool:
        for data in files:
            assert await pool.decode(data, ANYBODY) == expected(data)
        assert await pool.decode(bytearray(SHORT), ANYBODY) == expected(SHORT)
        assert await pool.decode(io.BytesIO(SHORT), ANYBODY) == expected(SHORT)


async def test_refusals_come_through() -> None:
    cases = [(b"", 415), (b"text" * 99, 415), (SHORT[:3_000], 422), (encode(speech(0.1)), 422)]
    async with started(max_upload_bytes=2**20) as pool:
        for data, status in cases:
            with pytest.raises(AudioError) as here:
                cut_prompt(read_audio(data))
            error = await refusal(pool, data)
            assert (error.status, error.code) == (status, here.value.code)
            assert error.message.startswith(str(here.value).rstrip("."))
        assert "more memory" in (await refusal(pool, bytes(2**29))).message
        assert await pool.decode(SHORT, ANYBODY) == expected(SHORT)


async def test_a_crash_costs_one_upload() -> None:
    async with started() as pool:
        await pool.decode(SHORT, ANYBODY)
        hostile = asyncio.create_task(refusal(pool, slow_upload()))
        pid = await busy(pool)
        os.kill(pid, signal.SIGSTOP)
        assert await pool.decode(SHORT, ANYBODY) == expected(SHORT), "another decoder takes it meanwhile"
        os.kill(pid, signal.SIGSEGV)
        os.kill(pid, signal.SIGCONT)
        error = await hostile
        assert (error.status, error.code, error.param) == (422, "undecodable", "audio")
        assert "crash" in error.message and error.message.endswith(".")
        for _ in range(4):
            assert await pool.decode(SHORT, ANYBODY) == expected(SHORT)


async def test_processor_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "whispergpt.server.decoding.pool.WALL_SECONDS", 100.0
    )  # on a machine that is busy with other tests
    async with started(decode_seconds=1) as pool:
        error = await refusal(pool, slow_upload())
        assert (error.status, error.message) == (422, "The file takes more than 1 s of processor time to decode.")
        assert await pool.decode(SHORT, ANYBODY) == expected(SHORT)


async def test_a_decoder_that_stands_still_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whispergpt.server.decoding.pool.WALL_SECONDS", 2.0)
    async with started(decode_seconds=4) as pool:
        await pool.decode(SHORT, ANYBODY)
        hostile = asyncio.create_task(refusal(pool, slow_upload()))
        os.kill(await busy(pool), signal.SIGSTOP)
        error = await hostile
        assert (error.status, error.message) == (422, "The file took longer than 8 s to decode.")


async def test_who_leaves_ends_its_decoder() -> None:
    async with started() as pool:
        await pool.decode(SHORT, ANYBODY)
        left = asyncio.create_task(pool.decode(slow_upload(), ANYBODY))
        pid = await busy(pool)
        os.kill(pid, signal.SIGSTOP)  # it would not end by itself
        left.cancel()
        assert await pool.decode(SHORT, ANYBODY) == expected(SHORT)
        await asyncio.to_thread(wait_until, lambda: not alive(pid), "the decoder has ended", PATIENCE_SECONDS)


async def test_one_key_leaves_a_decoder_to_others() -> None:
    one, other = Caller("one", identity="1"), Caller("other", identity="2")
    async with started(queue_seconds=PATIENCE_SECONDS) as pool:
        await pool.decode(SHORT, one)
        slow = [asyncio.create_task(pool.decode(slow_upload(), one)) for _ in range(3)]
        os.kill(await busy(pool), signal.SIGSTOP)
        for _ in range(3):
            assert await pool.decode(SHORT, other) == expected(SHORT)
        assert not any(task.done() for task in slow)
        for task in slow:
            task.cancel()


async def test_what_takes_long_gives_way() -> None:
    async with started() as pool:
        await pool.decode(SHORT, ANYBODY)
        slow = asyncio.create_task(pool.decode(slow_upload(), ANYBODY))
        pid = await busy(pool)
        assert pool.nursery_pid is not None
        at_first = os.getpriority(os.PRIO_PROCESS, pool.nursery_pid)
        await asyncio.to_thread(
            wait_until,
            lambda: os.getpriority(os.PRIO_PROCESS, pid) == LONG_NICENESS,
            "the decoder gives way",
            PATIENCE_SECONDS,
        )
        assert at_first < LONG_NICENESS
        slow.cancel()


async def test_what_takes_long_stands_still_for_others_half_of_its_time() -> None:
    """A caller's own prompts do not stop its long work, and endless ones of another stop it for half of the time."""
    one, other, precedence = Caller("one", identity="1"), Caller("other", identity="2"), Precedence()
    async with started(precedence) as pool:
        await pool.decode(SHORT, one)
        slow = asyncio.create_task(pool.decode(slow_upload(), one))
        pid = await busy(pool)
        niceness = partial(os.getpriority, os.PRIO_PROCESS, pid)
        await asyncio.to_thread(wait_until, lambda: niceness() == LONG_NICENESS, "it gives way", PATIENCE_SECONDS)
        assert one.long_work.total == 1 and other.long_work.total == 0, "its prompts go behind those of others"
        with precedence.of(one):
            assert not stopped(pid)
        with precedence.of(other):
            await asyncio.to_thread(wait_until, lambda: stopped(pid), "it stands still", PATIENCE_SECONDS)
            await asyncio.to_thread(wait_until, lambda: not stopped(pid), "it goes on", PATIENCE_SECONDS)
            await asyncio.to_thread(wait_until, lambda: stopped(pid), "it stands still again", PATIENCE_SECONDS)
        await asyncio.to_thread(wait_until, lambda: not stopped(pid), "nobody waits", PATIENCE_SECONDS)
        with precedence.of(other):
            await asyncio.to_thread(wait_until, lambda: stopped(pid), "it stands still", PATIENCE_SECONDS)
            slow.cancel()
            await asyncio.to_thread(
                wait_until, lambda: not alive(pid), "a stopped decoder can be ended", PATIENCE_SECONDS
            )
        assert one.long_work.total == 1, "they still do for as long as it took"
        await asyncio.to_thread(wait_until, lambda: one.long_work.total == 0, "that is over", PATIENCE_SECONDS)


async def test_short_uploads_of_others_stop_what_takes_long() -> None:
    one, other, precedence = Caller("one", identity="1"), Caller("other", identity="2"), Precedence()
    counted: list[bool] = []
    precedence.watch(lambda: counted.append(precedence.others_first(one)))
    async with started(precedence) as pool:
        await pool.decode(SHORT, other)
    assert counted == [True, False]


async def test_a_decoder_that_takes_a_while_to_end_holds_no_other_up() -> None:
    """The nursery answers while it waits for the end of a process, whose memory may take a while to be freed."""
    nursery = Nursery(10, 2**29)
    try:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            child = nursery.fork(theirs)
            assert nursery._ask(END, child.pid) in ((NOT_YET, 0), (child.pid, signal.SIGKILL))
            assert nursery.fork(theirs).pid > 0
    finally:
        nursery.close()


async def test_short_uploads_do_not_wait_for_what_takes_long() -> None:
    """Neither where callers are not told apart, nor where each of several keys has as much as it may."""
    keys = [Caller(name, identity=name) for name in ("one", "two", "three")]
    async with started(decode_seconds=60, queue_seconds=PATIENCE_SECONDS) as pool:
        await pool.decode(SHORT, ANYBODY)
        for senders, caller in (([ANYBODY] * 4, ANYBODY), ([*keys, *keys], Caller("other", identity="other"))):
            slow = [asyncio.create_task(pool.decode(slow_upload(), sender)) for sender in senders]
            await busy(pool)
            for _ in range(3):
                assert await pool.decode(SHORT, caller) == expected(SHORT)
            assert not any(task.done() for task in slow)
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)


async def test_what_was_put_off_is_decoded_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whispergpt.server.decoding.pool.LONG_SECONDS", 0.0)
    files = [encode(speech(9.0 + number), format="FLAC") for number in range(8)]
    async with started(queue_seconds=PATIENCE_SECONDS) as pool:
        opened = [io.BytesIO(data) if number % 2 else data for number, data in enumerate(files)]
        decoded = await asyncio.gather(*(pool.decode(upload, ANYBODY) for upload in opened))
        assert decoded == [expected(data) for data in files]
        places = (pool._short, pool._long)
        await asyncio.to_thread(
            wait_until, lambda: not any(kind._taken.total for kind in places), "all are free again", PATIENCE_SECONDS
        )


async def test_what_one_key_has_waiting_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whispergpt.server.decoding.pool.LONG_SECONDS", PATIENCE_SECONDS)
    one, other = Caller("one", identity="1"), Caller("other", identity="2")
    async with started(decode_waiting=2, queue_seconds=1) as pool:
        await pool.decode(SHORT, one)
        await asyncio.to_thread(wait_until, lambda: not pool._short._taken.total, "its place is free again")
        slow = asyncio.create_task(pool.decode(slow_upload(), one))
        os.kill(await busy(pool), signal.SIGSTOP)
        waiting = [asyncio.create_task(refusal(pool, SHORT, one)) for _ in range(2)]
        await asyncio.sleep(0)
        error = await refusal(pool, SHORT, one)
        assert (error.status, error.code, error.retry_after) == (429, "no_capacity", 1)
        assert await pool.decode(SHORT, other) == expected(SHORT)
        assert {(error.status, "did not come" in error.message) for error in await asyncio.gather(*waiting)} == {
            (429, True)
        }
        slow.cancel()


async def test_another_nursery_is_started_where_one_is_lost() -> None:
    async with started() as pool:
        await pool.decode(SHORT, ANYBODY)
        idle = await idle_decoders(pool)
        lost = pool.nursery_pid
        assert lost is not None
        os.kill(lost, signal.SIGKILL)
        await asyncio.to_thread(
            wait_until, lambda: not any(map(alive, idle)), "all decoders have ended", PATIENCE_SECONDS
        )
        assert await pool.decode(SHORT, ANYBODY) == expected(SHORT)
        assert pool.nursery_pid != lost
        assert not any(decoder.outlived for decoder in pool._warm)
        for _ in range(3):
            assert await pool.decode(SHORT, ANYBODY) == expected(SHORT)


async def test_another_nursery_is_started_where_one_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whispergpt.server.decoding.nursery._ANSWER_SECONDS", 1.0)
    async with started() as pool:
        assert await pool.decode(SHORT, ANYBODY) == expected(SHORT)
        await idle_decoders(pool)
        lost = pool.nursery_pid
        assert lost is not None
        os.kill(lost, signal.SIGSTOP)
        for _ in range(4):  # the first have the decoders that wait already
            assert await pool.decode(SHORT, ANYBODY) == expected(SHORT)
        assert pool.nursery_pid != lost and not alive(lost)


def waits(pid: int) -> bool:
    """Return whether a decoder has left the nursery's files behind and sleeps, until something is sent to it."""
    return stat(pid)[:1] == ["S"] and files_of(pid) is not None


async def idle_decoders(pool: DecoderPool) -> list[int]:
    """Wait until a decoder for each place is confined and waits for an upload; returns their pids."""

    def found() -> list[int]:
        pids = children(pool.nursery_pid or 0)
        ready = len(pids) == len(pool._warm) == Settings().decode_processes and all(map(waits, pids))
        return pids if ready else []

    return await asyncio.to_thread(wait_until, found, "each place has a decoder", PATIENCE_SECONDS)


async def test_idle_decoders_that_are_killed_cost_no_upload() -> None:
    async with started() as pool:
        idle = await idle_decoders(pool)
        for pid in idle:
            os.kill(pid, signal.SIGKILL)
        for _ in idle:
            assert await pool.decode(SHORT, ANYBODY) == expected(SHORT)


@pytest.mark.parametrize("killed", ["decoders", "nursery"])
async def test_an_upload_whose_decoder_is_killed_gets_another(killed: str) -> None:
    async with started() as pool:
        idle = await idle_decoders(pool)
        for pid in idle:
            os.kill(pid, signal.SIGSTOP)  # they hold what is sent to them
        uploads = [asyncio.create_task(pool.decode(SHORT, ANYBODY)) for _ in idle]
        await asyncio.to_thread(wait_until, lambda: not pool._warm, "every decoder has an upload", PATIENCE_SECONDS)
        for pid in idle if killed == "decoders" else [pool.nursery_pid]:
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        assert await asyncio.gather(*uploads) == [expected(SHORT)] * len(idle)


async def test_an_upload_whose_decoder_is_killed_twice_is_told_to_come_again() -> None:
    async with started() as pool:
        await idle_decoders(pool)
        upload = asyncio.create_task(refusal(pool, slow_upload()))
        for _ in range(2):
            pid = await busy(pool)
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(
                wait_until, lambda pid=pid: not alive(pid), "the decoder has ended", PATIENCE_SECONDS
            )
        error = await upload
        assert (error.status, error.code, error.retry_after) == (503, "no_decoder", 1)
        assert await pool.decode(SHORT, ANYBODY) == expected(SHORT)


async def test_no_socket_for_a_decoder_is_no_fault_of_the_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with started() as pool:
        await idle_decoders(pool)
        with monkeypatch.context() as full:
            full.setattr(socket, "socketpair", no_socket)
            with pytest.raises(NurseryError):
                Decoder(Nursery(1, 1))
            pool._prepare()
            for _ in range(Settings().decode_processes):
                assert await pool.decode(SHORT, ANYBODY) == expected(SHORT), "one that was ready"
            error = await refusal(pool, SHORT)
            assert (error.status, error.code, error.retry_after) == (503, "no_decoder", 1)
        assert await pool.decode(SHORT, ANYBODY) == expected(SHORT)


async def test_a_fork_that_fails_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Nursery._ask

    def no_room(nursery: Nursery, what: bytes, pid: int, connection: socket.socket | None = None) -> tuple[int, int]:
        return (-1, errno.EAGAIN) if what == FORK else ask(nursery, what, pid, connection)

    async with started() as pool:
        await pool.decode(SHORT, ANYBODY)
        before = pool.nursery_pid
        with monkeypatch.context() as full:
            full.setattr(Nursery, "_ask", no_room)
            while (error := await first_refusal(pool)) is None:
                pass
            assert (error.status, error.code, error.retry_after) == (503, "no_decoder", 1)
        assert await pool.decode(SHORT, ANYBODY) == expected(SHORT)
        assert pool.nursery_pid == before


async def first_refusal(pool: DecoderPool) -> ApiError | None:
    try:
        await pool.decode(SHORT, ANYBODY)
    except ApiError as error:
        return error
    return None


FAILING_NURSERY = """
import errno, os, sys
from whispergpt.engine.audio import nursery
fork, become, forks = os.fork, nursery._become_decoder, iter(["filter", "", "no room", "lost", ""])

def failing_fork():
    global fate
    fate = next(forks)
    if fate == "no room":
        raise OSError(errno.EAGAIN, "no room")
    return fork()

def failing_decoder(*arguments):
    if fate == "lost":
        raise RuntimeError("in the child, before it is a decoder")
    return become(*arguments)

os.fork, nursery._become_decoder = failing_fork, failing_decoder
sys.exit(nursery.main(sys.argv[1:]))
"""


def decoded(connection: socket.socket) -> bool:
    """Whether the decoder at the other end is alive and decodes."""
    connection.sendall(UPLOAD.pack(len(SHORT)) + SHORT)
    answer = connection.recv(ANSWER.size, socket.MSG_WAITALL)
    return answer == ANSWER.pack(SAMPLES, len(expected(SHORT)))


def test_a_nursery_survives_forks_that_fail() -> None:
    control, theirs = socket.socketpair()
    command = [sys.executable, "-c", FAILING_NURSERY, str(theirs.fileno()), "10", str(2**28)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    nursery = subprocess.Popen(command, pass_fds=(theirs.fileno(),), env=environment)
    theirs.close()

    def ask(*connections: socket.socket) -> tuple[int, ...]:
        socket.send_fds(control, [ASK.pack(FORK, 0)], [connection.fileno() for connection in connections])
        for connection in connections:
            connection.close()
        return TOLD.unpack(control.recv(TOLD.size, socket.MSG_WAITALL))

    with control:
        control.recv(TOLD.size, socket.MSG_WAITALL)
        (first, a), (unborn, b), (stillborn, c), (last, d) = (socket.socketpair() for _ in range(4))
        with first, unborn, stillborn, last:
            pid, _ = ask(a)
            assert alive(pid)
            assert ask(b) == (-1, errno.EAGAIN)
            assert unborn.recv(1) == b"", "nobody holds the other end"
            assert ask() == (-1, errno.EBADF)
            assert ask(c)[0] > 0
            assert stillborn.recv(1) == b""
            assert ask(d)[0] > 0
            assert alive(pid) and decoded(first) and decoded(last)
    assert nursery.wait(10) == 0


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def files_of(pid: int) -> list[str] | None:
    """What a process has open; None before it has taken leave of what it was forked with."""
    held = sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda path: int(path.name))
    return [str(path.readlink()) for path in held] if len(held) <= 4 else None


async def test_decoders_know_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERGPT_RESUME_KEY", "a-key-that-signs-tokens")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    async with started() as pool:
        await pool.decode(SHORT, ANYBODY)
        assert pool.nursery_pid is not None
        for pid in (pool.nursery_pid, *await idle_decoders(pool)):
            known = environment_of(pid)
            assert b"PATH=" in known and b"WHISPERGPT" not in known and b"AWS" not in known


async def test_decoders_have_one_socket_and_no_file() -> None:
    async with started() as pool:
        await pool.decode(SHORT, ANYBODY)
        held = files_of((await idle_decoders(pool))[0])
        assert held is not None
        assert held[:3] == ["/dev/null"] * 3 and held[3].startswith("socket:") and len(held) == 4


def test_decoders_end_with_their_server() -> None:
    script = (
        "import asyncio, sys\n"
        "from tests.unit import test_decoders as t\n"
        "async def main():\n"
        "    pool = t.DecoderPool(t.Settings(), t.Precedence())\n"
        "    pool.start()\n"
        "    await pool.decode(t.SHORT, t.ANYBODY)\n"
        "    task = asyncio.create_task(pool.decode(t.slow_upload(), t.ANYBODY))\n"
        "    await t.busy(pool)\n"
        "    print(pool.nursery_pid, flush=True)\n"
        "    await task\n"
        "asyncio.run(main())\n"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert server.stdout is not None
    nursery = int(server.stdout.readline())
    decoders = children(nursery)
    assert decoders
    for pid in decoders:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    server.kill()
    server.wait()
    wait_until(lambda: not any(map(alive, [nursery, *decoders])), "all have ended", PATIENCE_SECONDS)


class Liar(Nursery):
    """In the place of a decoder that an upload has taken over: it answers what it likes."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(1, 1)
        self._answer = answer

    def fork(self, connection: socket.socket) -> Child:
        ours = connection.dup()

        def answer() -> None:
            with ours:
                ours.recv(100_000)
                ours.sendall(self._answer)

        threading.Thread(target=answer).start()
        return Child(0, self.run)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0",
        ANSWER.pack(SAMPLES, 2**32 - 1),
        ANSWER.pack(SAMPLES, MOST_SAMPLE_BYTES + 1_280),
        ANSWER.pack(SAMPLES, 0),
        ANSWER.pack(SAMPLES, 48_000 + 1) + bytes(48_001),
        ANSWER.pack(SAMPLES, 51_200) + bytes(100),
        ANSWER.pack(SAMPLES, 51_200) + np.full(12_800, np.nan, "<f4").tobytes(),
        ANSWER.pack(SAMPLES, 51_200) + np.full(12_800, 1e30, "<f4").tobytes(),
        ANSWER.pack(7, 2) + b"{}",
        ANSWER.pack(REFUSED, 2**31),
        ANSWER.pack(REFUSED, 2) + b"{}",
        ANSWER.pack(REFUSED, 4) + b"\xff\xfe\0\0",
        ANSWER.pack(REFUSED, 34) + b'{"code":"wrong_key","message":"x"}',
        ANSWER.pack(REFUSED, 44) + b'{"code":"undecodable","message":"two\\nlines"}'[:44],
    ],
)
def test_a_decoder_is_not_believed(answer: bytes) -> None:
    decoder = Decoder(Liar(answer))
    with pytest.raises(DecoderLost):
        decoder.decode(SHORT[:1_000])
    decoder.end()
