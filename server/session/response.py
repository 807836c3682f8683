"""One response of a session: waits for a slot, sends the audio, and reports its end."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from msgspec.structs import replace

from whispergpt.engine.config import HOP
from whispergpt.engine.messages.events import SnapshotTaken
from whispergpt.server.access.caller import Caller
from whispergpt.server.admission.accounting import Account
from whispergpt.server.audio.encoders import encoder
from whispergpt.server.audio.playback import MESSAGE_FRAMES, OPUS_FRAMES, Playback
from whispergpt.server.errors import POLICY_VIOLATION, ApiError, bad_value, engine_lost, wrong_order
from whispergpt.server.feeds.feed import Checkpoint, Feed
from whispergpt.server.link.stream_handle import Status, StreamHandle
from whispergpt.server.observe import logs
from whispergpt.server.services import Services
from whispergpt.server.session.backlog import every, latest
from whispergpt.server.session.response_request import ResponseRequest
from whispergpt.server.session.socket import ClientGoneError, StreamSocket

log = logs.get("server.stream")
_MOST_UNDERRUNS = 1_000_000


class StreamResponse:
    """A response, queued for a slot when it is made, so that the prompt may be cleared from then on.

    Raises:
        ApiError: the queue is full, the caller is over a limit, or the engine is gone.
    """

    def __init__(self, services: Services, socket: StreamSocket, caller: Caller, request: ResponseRequest) -> None:
        self._services, self._socket, self._caller, self._request = services, socket, caller, request
        self._sampling = request.plan.sampling
        self._id = f"resp_{uuid.uuid4().hex}"
        self._account = Account(services.metrics, socket.route)
        self._playback: Playback | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = self._over = self._created = False
        self._creating = asyncio.Lock()
        self._underruns = 0
        self._next_frame = request.from_frame
        """Frame after those that were sent or are being sent."""
        self._made_frame = request.from_frame
        """Frame after those that came from the engine."""
        self._feed: Feed | None = None
        if request.feed:
            self._open_feed()
        try:
            self._stream = self._start()
        except ApiError:
            self._end_feed("failed", at_once=True)
            raise

    async def say_created(self) -> None:
        """Send ``response.created``, once: at the response's slot, or before any other event about it.

        Raises:
            ClientGoneError: the client left.
        """
        async with self._creating:  # nobody's word may pass it by
            if not self._created:
                request = self._request
                created = {
                    "id": self._id,
                    "status": "in_progress",
                    "seed": request.plan.sampling.seed,
                    "from_frame": request.from_frame,
                    "fingerprint": request.prompt.model.fingerprint,
                }
                await self._socket.send_event("response.created", response=created)
                self._created = True
                if self._feed is not None:
                    await self._send_feed(self._feed)

    async def say_feed(self) -> None:
        """Send ``response.feed.created`` with the address of the response's feed, which is opened unless there is one.

        Raises:
            ApiError: 400, the response has another pace; 429, there is no memory for a feed.
            ClientGoneError: the client left.
        """
        await self._send_feed(self._feed or self._open_feed())

    def cancel_feed(self) -> dict[str, Any]:
        """End the feed for its listeners; returns the event's fields.

        Raises:
            ApiError: 400, there is none.
        """
        if self._feed is None:
            raise wrong_order("The response has no feed.")
        self._end_feed("cancelled", at_once=True)
        self._feed = None
        return {"response_id": self._id}

    def cancel(self) -> None:
        """Stop; ``run`` still sends ``response.done``."""
        if self._cancelled or self._over:
            return  # a second cancellation would cut the goodbye off
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    @property
    def paused(self) -> bool:
        return self._stream.held

    @property
    def over(self) -> bool:
        """Return whether only ``response.done`` is left to send."""
        return self._over

    def pause(self, paused: bool) -> dict[str, Any]:
        """Stop after the frames given out, or go on with the next; returns the event's fields."""
        self._stream.hold(paused)
        if self._playback is not None:
            self._playback.pause(paused)
        if self._feed is not None:
            self._feed.paused = paused
        return {
            "response_id": self._id,
            "frames": self._request.from_frame + (self._playback.handed if self._playback else 0),
        }

    def report(self, played_frames: int, underruns: int | None) -> None:
        """Note the frame that the listener has played, and its underruns since it connected; None is unchanged.

        Raises:
            ApiError: 400, the report is impossible.
        """
        sent = self._next_frame
        if not 0 <= played_frames <= sent:
            raise bad_value(
                "played_frames", f"played_frames must be 0 to {sent}, as many as were sent.", "out_of_range"
            )
        if underruns is None:
            return
        if not self._underruns <= underruns <= _MOST_UNDERRUNS:
            told = f"underruns must be {self._underruns} to {_MOST_UNDERRUNS}: since this connection began."
            raise bad_value("underruns", told, "out_of_range")
        self._services.metrics.listener_underruns.labels(self._stream.model.id).inc(underruns - self._underruns)
        self._underruns = underruns

    def change_sampling(self, changes: dict[str, float | int]) -> None:
        """Change the sampling values of ``changes`` from the next frame on."""
        self._sampling = replace(self._sampling, **changes)
        self._stream.change_sampling(self._sampling)

    async def fork(self, seed: int) -> dict[str, Any]:
        """Go on with another seed from the next frame on; returns the event's fields.

        Raises:
            ApiError: the response ended meanwhile.
        """
        frame = await self._stream.change_sampling(replace(self._sampling, seed=seed))
        if frame is None:
            raise wrong_order("The response ended before it could be forked.")
        self._sampling = replace(self._sampling, seed=seed)
        return {"response_id": self._id, "seed": seed, "frame": frame}

    def close(self) -> None:
        """Free the slot, or the place in the queue."""
        self._stream.close()
        self._end_feed("cancelled")
        self._account.end("cancelled")

    async def run(self) -> None:
        """Wait for a slot and play, up to ``response.done``.

        Raises:
            ApiError: there is no slot, or the engine failed; the session closes with it.
            ClientGoneError: the client left.
        """
        self._task = asyncio.current_task()
        status: Status = "failed"
        try:
            with self._services.tracing.span("response", response_id=self._id, seed=self._request.plan.sampling.seed):
                status = await self._cancellable()
            self._account.end(status)
        except ApiError as error:
            self._over = True  # a cancellation would cut the goodbye off
            self._account.refuse(error)
            self._stream.close()  # first: to say goodbye to one who does not read may take long
            self._end_feed("failed")
            if self._created:
                await self._say_done("failed")
            raise
        except (ClientGoneError, asyncio.CancelledError):
            status = "cancelled"
            self._account.end(status)
            raise
        finally:
            self._over = True
            self._stream.close()
            self._end_feed(status, at_once=self._cancelled)
            self._account.end("failed")
        await self._say_done(status)

    async def _cancellable(self) -> Status:
        try:
            if self._cancelled:
                return "cancelled"
            with self._services.tracing.span("queue"):
                await self._services.admission.wait_for_slot(self._request.prompt.link, self._stream)
            return await self._send_audio(self._stream)
        except asyncio.CancelledError:
            if not self._cancelled:
                raise
            assert self._task is not None
            self._task.uncancel()
            return "cancelled"

    def _start(self) -> StreamHandle:
        request, link = self._request, self._request.prompt.link
        self._services.engines.ready()  # where none is, that is the error
        if link.lost:
            raise engine_lost("The engine was restarted and the prompt is lost with it; connect and send it again.")
        admission = self._services.admission
        return admission.start_stream(
            link, request.prompt, request.plan, self._caller, request.place, prompt_seconds=request.prompt_seconds
        )

    async def _send_audio(self, stream: StreamHandle) -> Status:
        request = self._request
        realtime = request.plan.pace == "realtime"
        services = self._services
        playback = Playback(
            stream,
            services.metrics,
            services.tracing,
            self._socket.route,
            request.began,
            realtime,
            request.plan.skipped,
        )
        if stream.held:
            playback.pause(True)
        self._playback = playback
        if realtime:
            self._services.playing.streams.add(playback)
        try:
            await self.say_created()
            await self._send_messages(stream, playback, realtime)
        finally:
            self._services.playing.streams.discard(playback)
            playback.finish()
        return stream.status or "failed"

    async def _send_messages(self, stream: StreamHandle, playback: Playback, realtime: bool) -> None:
        settings, slow = self._services.settings, self._services.metrics.slow_client
        policy = settings.slow_reader if realtime else "pause"  # nobody can take as fast as the machine makes
        opus = encoder("opus", 0) if self._request.output == "opus" else None
        messages = self._shared(playback.messages(MESSAGE_FRAMES if opus is None else OPUS_FRAMES))
        late_dropped = latest(messages, settings.slow_seconds) if policy == "drop" else every(messages)
        async with aclosing(late_dropped) as audio:
            async for dropped, pcm in audio:
                frame, frames = self._next_frame, len(pcm) // (2 * HOP)
                self._next_frame += dropped + frames
                if dropped:
                    slow.labels("dropped").inc()
                    told = {"response_id": self._id, "frame": frame, "frames": dropped}
                    await self._socket.send_event("response.output_audio.dropped", **told)
                began = time.monotonic()
                if opus is None:
                    body = pcm
                elif realtime:  # so little at a time that a thread would mostly wait for Python's lock
                    body = opus.push(pcm)
                else:
                    body = await self._services.live.run(opus.push, pcm)
                await self._send_in_time(body, settings.slow_seconds if policy == "close" else None)
                playback.sent(frames, dropped, gathering=not body)
                if time.monotonic() - began > settings.slow_seconds and policy == "pause":
                    slow.labels("paused").inc()
                if snapshot := stream.snapshot(self._next_frame):
                    await self._say_checkpoint(snapshot)
        if opus is not None:
            await self._send_in_time(await self._services.live.run(opus.finish), None)
            playback.gathered()

    async def _shared(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield ``messages``, and add each to the feed."""
        async for pcm in messages:
            self._made_frame += len(pcm) // (2 * HOP)
            if self._feed is not None:
                self._feed.add(pcm)
            yield pcm

    def _open_feed(self) -> Feed:
        request = self._request
        if request.plan.pace != "realtime":
            raise bad_value("response.feed", "A feed plays in real time; set the session's pace to 'realtime'.")
        model, start = request.prompt.model, self._made_frame * HOP
        seed = self._sampling.seed
        self._feed = self._services.feeds.open(self._caller, model.id, model.fingerprint, seed, request.frames, start)
        if self._created:
            self._feed.paused = self.paused
        return self._feed

    async def _send_feed(self, feed: Feed) -> None:
        about, kept = feed.about, self._services.settings.feed_seconds
        told = {"response_id": self._id, "token": about.token, "url": about.audio_path, "kept_seconds": kept}
        await self._socket.send_event("response.feed.created", **told)

    def _end_feed(self, status: Status, at_once: bool = False) -> None:
        if self._feed is not None:
            self._services.feeds.end(self._feed, status, at_once)

    async def _send_in_time(self, audio: bytes, seconds: float | None) -> None:
        if not audio:  # Opus fills a page before there is anything to send
            return
        if seconds is None:
            await self._socket.send_audio(audio)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._socket.send_audio(audio)
        except TimeoutError:
            self._services.metrics.slow_client.labels("closed").inc()
            told = f"No audio was taken for {seconds:g} s; this server does not wait longer."
            raise ApiError(408, "slow_reader", told, close_code=POLICY_VIOLATION) from None

    async def _say_checkpoint(self, snapshot: SnapshotTaken) -> None:
        token = self._services.tokens.seal(snapshot, self._request.prompt.model, self._request.frames)
        told = {"response_id": self._id, "frame": snapshot.frame, "resume_token": token}
        if self._feed is not None:
            self._feed.checkpoint = Checkpoint(snapshot.frame, token)
        await self._socket.send_event("response.checkpoint", **told)

    async def _say_done(self, status: Status) -> None:
        playback = self._playback
        first = playback.first_audio_seconds if playback else None
        done = {
            "id": self._id,
            "status": status,
            "frames": playback.frames if playback else 0,
            "seed": self._sampling.seed,
            "time_to_first_audio_ms": None if first is None else round(first * 1000, 2),
            "realtime_factor": round(playback.realtime_factor, 3) if playback and playback.frames else None,
        }
        await self._socket.send_event("response.output_audio.done", response_id=self._id)
        await self._socket.send_event("response.done", response=done)
        log.info("response", seconds=round(time.perf_counter() - self._request.began, 3), **done)
