"""The pool of decoders: warm processes that callers share by turns, each with bounded time and memory.

An upload that takes long moves to one of as many places for long work, so that short ones have its place. Where none of
those is free, its decoder is ended, and the upload begins anew once it has one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

from whispergpt.engine.audio.limits import AudioError
from whispergpt.server.access.caller import Caller
from whispergpt.server.access.precedence import Precedence
from whispergpt.server.decoding.decoder import Decoder, DecoderLost, Upload
from whispergpt.server.decoding.job import Job
from whispergpt.server.decoding.long_work import LongWork
from whispergpt.server.decoding.nursery import Nursery, NurseryError
from whispergpt.server.decoding.turns import TooManyWait, Turns
from whispergpt.server.errors import ApiError, from_audio
from whispergpt.server.ledger import Ledger
from whispergpt.server.observe import logs
from whispergpt.server.settings import Settings

log = logs.get("server.decoding")
WALL_SECONDS = 10.0
"""Wall-clock seconds for each second of processor time that an upload may take, since the machine may be busy."""
LONG_SECONDS = 0.25
"""Seconds after which an upload takes long, and goes behind others. A minute of stereo takes a third of them."""
_RETRY_SECONDS = 1


class DecoderPool:
    """Decoders that wait for uploads; nothing runs before ``start``.

    A caller with a key has all places but one at most, so that another caller's upload finds one free. All front ends
    have the same places.

    Args:
        ledger: has the places that are taken.
    """

    def __init__(self, settings: Settings, precedence: Precedence, ledger: Ledger | None = None) -> None:
        self._settings, self._precedence = settings, precedence
        self._long_work = LongWork(precedence)
        self._nursery = Nursery(settings.decode_seconds, settings.decode_memory_bytes + settings.max_upload_bytes)
        places, waiting = settings.decode_processes, settings.decode_waiting
        self._short = Turns(places, waiting, "decoders", ledger)
        self._long = Turns(places, waiting, "decoders of long work", ledger)
        self._threads = ThreadPoolExecutor(2 * settings.decode_processes, thread_name_prefix="decoder")
        self._warm: list[Decoder] = []
        self._preparing = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Begin to make decoders, in the background, with all threads at once: none is made under load."""
        for _ in range(2 * self._settings.decode_processes):
            self._threads.submit(self._prepare)

    @property
    def nursery_pid(self) -> int | None:
        """The nursery's pid; None while it does not run."""
        return self._nursery.pid

    async def decode(self, upload: Upload, caller: Caller) -> bytes:
        """Return a file as float32 little-endian samples at 24 kHz, in whole frames. Cancelling ends its decoder.

        Raises:
            ApiError: the file is no prompt, with ``AudioError``'s code; 429, the caller has too many waiting, or its
                turn did not come; 503, there are no processes to be had.
        """
        await self._wait_for_turn(self._short, caller)
        job = Job(self._short)
        try:
            try:
                return await self._decoded(job, upload, caller)
            except DecoderLost:
                if not job.put_off:
                    raise
            await self._wait_for_turn(self._long, caller)
            job = Job(self._long)
            return await self._decoded(job, upload, caller)
        except AudioError as error:
            raise from_audio(error) from None
        except DecoderLost as lost:
            log.warning("decoder lost", why=str(lost), ended=lost.how)
            raise from_audio(self._refusal(job, lost)) from None
        except NurseryError as error:
            log.error("no decoder", why=str(error))
            told = "The server has no process to decode audio with just now; try again in a moment."
            raise ApiError(503, "no_decoder", told, retry_after=_RETRY_SECONDS) from None

    def close(self) -> None:
        """End all decoders and take no more uploads."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._nursery.close()

    async def _decoded(self, job: Job, upload: Upload, caller: Caller) -> bytes:
        """Have a job done that has its place, which is given back afterwards."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._work, job, upload)
        work.add_done_callback(lambda done: self._renew_after(done, job, caller))
        wall = WALL_SECONDS * self._settings.decode_seconds
        watches = [loop.call_later(wall, job.cut, f"took longer than {wall:g} s to decode")]
        with contextlib.ExitStack() as short:
            if job.places is self._short:
                short.enter_context(self._precedence.of(caller))
                watches.append(loop.call_later(LONG_SECONDS, self._takes_long, job, caller, short))
            else:
                self._long_work.add(job, caller)
            try:
                return await asyncio.shield(work)
            finally:
                for watch in watches:
                    watch.cancel()
                self._long_work.discard(job)
                if not work.done():
                    job.cut("was given up")

    async def _wait_for_turn(self, places: Turns, caller: Caller) -> None:
        limit = self._settings.queue_seconds
        try:
            async with asyncio.timeout(limit):
                await places.take(caller.identity, self._most(caller))
        except TooManyWait:
            told = f"{self._settings.decode_waiting} of your prompts wait to be decoded already; send fewer at once."
            raise ApiError(429, "no_capacity", told, retry_after=_RETRY_SECONDS) from None
        except TimeoutError:
            told = f"The prompt's turn to be decoded did not come within {limit:g} s; send fewer at once."
            raise ApiError(429, "no_capacity", told, retry_after=_RETRY_SECONDS) from None

    def _most(self, caller: Caller) -> int:
        """Return how many places of a kind a caller may have."""
        most = self._settings.decode_processes
        return most if caller.alone else max(1, most - 1)

    def _takes_long(self, job: Job, caller: Caller, short: contextlib.ExitStack) -> None:
        """Give a job a place for long work, and its own back; or put it off if none is free."""
        short.close()
        if not self._long.take_free(caller.identity, self._most(caller)):
            job.put_off = True
            job.cut("takes long")
            return
        job.places = self._long
        self._long_work.add(job, caller)
        prepared = asyncio.get_running_loop().run_in_executor(self._threads, self._prepare)
        prepared.add_done_callback(lambda _: self._short.give_back(caller.identity))

    def _work(self, job: Job, upload: Upload) -> bytes:
        """Have a decoder decode, and another one if the first was killed from outside; runs in a thread."""
        try:
            decoder = self._warm.pop()
        except IndexError:
            decoder = self._fork()
        try:
            return self._try(decoder, job, upload)
        except DecoderLost as lost:
            if lost.blames_upload or job.cut_because is not None:
                raise
            log.warning("decoder killed, trying another", why=str(lost), ended=lost.how)
        try:
            return self._try(self._fork(), job, upload)
        except DecoderLost as lost:
            if lost.blames_upload or job.cut_because is not None:
                raise
            raise NurseryError(f"two decoders of one upload were killed, the second: {lost.how}") from None

    def _try(self, decoder: Decoder, job: Job, upload: Upload) -> bytes:
        job.begin(decoder)
        try:
            return decoder.decode(upload)
        except DecoderLost as lost:
            lost.how = decoder.end()
            raise

    def _fork(self) -> Decoder:
        """Make a decoder. If that took a new nursery, drop the waiting decoders, which ended with the old one."""
        decoder = Decoder(self._nursery)
        for waiting in self._warm[:]:
            if waiting.outlived:
                with contextlib.suppress(ValueError):  # another thread has just taken it, and learns of its end
                    self._warm.remove(waiting)
                    waiting.end()
        return decoder

    def _renew_after(self, work: asyncio.Future[bytes], job: Job, caller: Caller) -> None:
        """End the decoder of a job that is done, have another one wait where it was a short one, and then give its
        place back."""
        if work.cancelled() or self._closed:
            return
        work.exception()  # it is marked as seen: ``decode`` raised it, unless its caller was cancelled
        places = job.places
        renewed = asyncio.get_running_loop().run_in_executor(self._threads, self._renew, job, places is self._short)
        renewed.add_done_callback(lambda _: places.give_back(caller.identity))

    def _renew(self, job: Job, prepare: bool) -> None:
        if job.decoder is not None:
            job.decoder.end()
        if prepare:
            self._prepare()

    def _prepare(self) -> None:
        """Make a decoder that waits, unless there are as many as uploads may be decoded at once."""
        try:
            with self._preparing:
                if len(self._warm) < self._settings.decode_processes:
                    self._warm.append(self._fork())
        except NurseryError as error:  # the next upload tries again
            if not self._closed:
                log.error("no decoder", why=str(error))

    def _refusal(self, job: Job, lost: DecoderLost) -> AudioError:
        seconds = self._settings.decode_seconds
        if lost.how == "SIGXCPU":
            told = f"The file takes more than {seconds} s of processor time to decode."
        elif job.cut_because is not None:
            told = f"The file {job.cut_because}."
        else:
            told = "The file made its decoder crash: it is damaged, or coded in a way that is not read."
        return AudioError("undecodable", told)
