"""One response of a session: waits for a slot, sends the audio, says how it went."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

from engine.messages import Pace, SamplingParams
from server import logs
from server.accounting import Account
from server.engine_handles import PromptHandle, Status, StreamHandle
from server.errors import ApiError, engine_lost
from server.playback import Playback
from server.services import Services
from server.stream_socket import ClientGone, StreamSocket

log = logs.get("server.stream")
ROUTE = "/stream"


class StreamResponse:
    """Takes its place in the line for a slot when it is made, so that the prompt may be cleared from then on.

    Args:
        prompt: committed.
        frames: how many to generate; None goes on until cancelled.
        began: when ``response.create`` came.

    Raises:
        ApiError: the line is full, or the engine is gone.
    """

    def __init__(
        self,
        services: Services,
        socket: StreamSocket,
        prompt: PromptHandle,
        sampling: SamplingParams,
        frames: int | None,
        pace: Pace,
        began: float,
    ) -> None:
        self._services, self._socket = services, socket
        self._sampling, self._pace, self._began = sampling, pace, began
        self._id = f"resp_{uuid.uuid4().hex}"
        self._account = Account(services.metrics, ROUTE)
        self._playback: Playback | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = self._over = False
        try:
            self._stream = self._start(prompt, frames)
        except ApiError as error:
            self._account.refuse(error)
            raise

    def cancel(self) -> None:
        """Stop; ``run`` still says goodbye to the client."""
        if self._cancelled or self._over:
            return  # a second cancellation would cut the goodbye off
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    @property
    def paused(self) -> bool:
        return self._stream.held

    def pause(self, paused: bool) -> dict[str, Any]:
        """Stop after the frames that were sent, or go on with the next; returns what the client is told."""
        self._stream.hold(paused)
        if self._playback is not None:
            self._playback.pause(paused)
        return {"response_id": self._id, "frames": self._playback.handed if self._playback else 0}

    def change_sampling(self, sampling: SamplingParams) -> None:
        """Draw differently from the next frame that is made; the seed stays."""
        self._stream.change_sampling(sampling)

    def close(self) -> None:
        """Free the slot, or the place in the line for it."""
        self._stream.close()
        self._account.end("cancelled")

    async def run(self) -> None:
        """From the wait for a slot to ``response.done``.

        Raises:
            ApiError: there is no slot, or the engine failed; the session closes with it.
            ClientGone: the client left.
        """
        self._task = asyncio.current_task()
        try:
            status = await self._cancellable()
            self._account.end(status)
        except ApiError as error:
            self._account.refuse(error)
            if self._playback is not None:
                await self._say_done("failed")
            raise
        except (ClientGone, asyncio.CancelledError):
            self._account.end("cancelled")
            raise
        finally:
            self._over = True
            self._stream.close()
            self._account.end("failed")
        await self._say_done(status)

    async def _cancellable(self) -> Status:
        try:
            if self._cancelled:
                return "cancelled"
            await self._services.admission.wait_for_slot(self._stream)
            return await self._send_audio(self._stream)
        except asyncio.CancelledError:
            if not self._cancelled:
                raise
            assert self._task is not None
            self._task.uncancel()
            return "cancelled"

    def _start(self, prompt: PromptHandle, frames: int | None) -> StreamHandle:
        link = self._services.supervisor.link()
        if prompt.link is not link:
            raise engine_lost("The engine was restarted and the prompt is lost with it; connect and send it again.")
        return self._services.admission.start_stream(link, prompt, self._sampling, frames, self._pace)

    async def _send_audio(self, stream: StreamHandle) -> Status:
        realtime = self._pace == "realtime"
        playback = Playback(stream, self._services.metrics, ROUTE, self._began, realtime)
        self._playback = playback
        if realtime:
            self._services.playing.streams.add(playback)
        try:
            await self._socket.send_event(
                "response.created", response={"id": self._id, "status": "in_progress", "seed": self._sampling.seed}
            )
            async for pcm in playback.messages():
                await self._socket.send_audio(pcm)
        finally:
            self._services.playing.streams.discard(playback)
            playback.finish()
        return stream.status or "failed"

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
        log.info("response", seconds=round(time.perf_counter() - self._began, 3), **done)
