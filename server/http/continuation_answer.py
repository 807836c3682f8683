"""A continuation over HTTP, from its form to its answer, whole or streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from whispergpt.engine.config import HOP, SAMPLE_RATE
from whispergpt.engine.messages.events import PromptReady
from whispergpt.engine.stream_plan import Pace, StreamPlan
from whispergpt.server.access.caller import Caller
from whispergpt.server.admission.accounting import Account
from whispergpt.server.admission.admission import UploadMeter
from whispergpt.server.audio.audio_io import seconds_of
from whispergpt.server.audio.encoders import MEDIA_TYPES, encode, encoder
from whispergpt.server.audio.playback import Playback
from whispergpt.server.audio.provenance import Provenance, provenance
from whispergpt.server.edge.departure import CLIENT_LEFT, or_gone
from whispergpt.server.errors import ApiError, internal
from whispergpt.server.http.upload import ContinueForm
from whispergpt.server.link.stream_handle import StreamHandle
from whispergpt.server.observe import logs
from whispergpt.server.parameters import find_model, sampling_for
from whispergpt.server.services import Services, services_of

log = logs.get("server.continue")
_PART_BYTES = 65_536
Work = Callable[[Services, AsyncExitStack, Account], Awaitable[Response]]


async def answered(request: Request, route: str, work: Work) -> Response:
    """Return the answer of ``work``, counted and bounded as one request of ``route``, however it ends.

    Raises:
        ApiError: as ``work`` does, or there is no room or no engine for it.
    """
    services = services_of(request.app)
    cleanup: AsyncExitStack = request.state.cleanup
    account = Account(services.metrics, route)
    # An end that is none of the cases below is the server's fault.
    cleanup.callback(account.end, "failed")
    try:
        services.admission.enter_request()
        cleanup.callback(services.admission.leave_request)
        services.engines.ready()  # refuse before a body is read in vain
        return await services.engines.unless_cut_off(work(services, cleanup, account))
    except ApiError as error:
        account.refuse(error)
        raise
    except (ClientDisconnect, asyncio.CancelledError) as error:
        account.end("cancelled")
        if isinstance(error, ClientDisconnect):
            return Response(status_code=CLIENT_LEFT)  # to nobody
        raise


@dataclass
class Continuation:
    """A continuation whose stream has its slot. ``made``: its provenance, for the tags."""

    form: ContinueForm
    stream: StreamHandle
    playback: Playback
    prompt: PromptReady
    made: Provenance
    queue_seconds: float

    @property
    def lead_in(self) -> bytes:
        """Return the decoded prompt, if it was asked for, which goes before the continuation."""
        return self.prompt.decoded

    def headers(self, whole: bool) -> dict[str, str]:
        """Return the answer's headers.

        ``first_audio`` runs from the body's last byte to the first frame, ``generate`` from there to the last frame,
        which a streamed answer cannot know yet.
        """
        first = self.playback.first_frame_seconds or 0.0
        timing = {
            "queue": self.queue_seconds,
            "encode": self.prompt.encode_seconds,
            "prefill": self.prompt.prefill_seconds,
            "first_audio": first,
        }
        if whole:
            timing["generate"] = (self.playback.first_audio_seconds or first) - first
        return sound_headers(self.made.seed, self.stream.model.fingerprint) | {
            "Server-Timing": ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in timing.items()),
        }


def sound_headers(seed: int, fingerprint: str) -> dict[str, str]:
    """Return the headers that say of any audio how it was made."""
    return {
        "X-Seed": str(seed),
        "X-Sample-Rate": str(SAMPLE_RATE),
        "X-Fingerprint": quote(fingerprint, safe="/+:"),  # a model's folder may have any name
        "Cache-Control": "no-store",
    }


async def begin(
    services: Services,
    route: str,
    caller: Caller,
    form: ContinueForm,
    audio: BinaryIO | bytes,
    received: float,
    cleanup: AsyncExitStack,
    meter: UploadMeter,
    pace: Pace = "fast",
) -> Continuation:
    """Decode and encode the prompt and wait for a slot, which ``cleanup`` gives back.

    Args:
        route: for the metrics.
        audio: the prompt as a file, which is closed, or its decoded samples.
        received: time of the body's last byte, on ``time.perf_counter``'s clock.
        meter: counts the upload, and then the decoded samples, until the engine has them.

    Raises:
        ApiError: the prompt cannot be used, there is no room, or the engine is gone.
    """
    model = find_model(services.engines.models, form.model)
    sampling = sampling_for(form.wishes, model)
    caller.require_room()
    services.admission.require_room(services.engines.link(model.id, pace), model, pace)
    if isinstance(audio, bytes):
        decoded = audio
    else:  # in its turn, which takes no place from others
        with services.tracing.span("decode"), audio:  # its memory is free as soon as it is read
            decoded = await services.decoders.decode(audio, caller)
        meter.hold(len(decoded))
    del audio
    link = services.engines.link(model.id, pace)  # now, not before the decoding: meanwhile others came and went
    with services.admission.keep_place(link, model, pace, caller) as place:
        paid, ready = seconds_of(decoded), None
        caller.pay(paid)
        try:
            async with services.precedence.prompt_turn(caller):
                with link.open_prompt(model, caller) as prompt:
                    await prompt.append(decoded)
                    del decoded
                    meter.release()
                    patience = services.settings.patience(pace)
                    ready = await prompt.commit(services.tracing, form.include_prompt, patience)
                    if ready.known:
                        caller.pay_back(paid)
                        paid = 0.0
                    plan = StreamPlan(sampling, form.frames, pace)
                    stream = services.admission.start_stream(link, prompt, plan, caller, place, paid)
                    cleanup.callback(stream.close)
        except ApiError as error:
            if error.status >= 500 or (error.status == 429 and ready is None):  # the server's fault, and not the key's
                caller.pay_back(paid)
            raise
    with services.tracing.span("queue"):
        queue_seconds = await services.admission.wait_for_slot(link, stream)
    playback = _playback(services, stream, route, received, cleanup)
    made = provenance(stream.model, sampling, form.frames, form.include_prompt, form.audio_sha256)
    return Continuation(form, stream, playback, ready, made, queue_seconds)


def _playback(
    services: Services, stream: StreamHandle, route: str, received: float, cleanup: AsyncExitStack
) -> Playback:
    """Return how a stream is played; one in real time is counted until ``cleanup``."""
    realtime = stream.plan.pace == "realtime"
    playback = Playback(stream, services.metrics, services.tracing, route, received, realtime=realtime)
    if realtime:
        services.playing.streams.add(playback)
        cleanup.callback(services.playing.streams.discard, playback)
    return playback


async def whole_answer(services: Services, begun: Continuation, account: Account) -> Response:
    """Return the answer once all of it is made.

    Raises:
        ApiError: the stream failed.
    """
    pcm = begun.lead_in + await begun.playback.all()
    _require_complete(begun)
    begun.stream.close()  # while the answer is downloaded, its caller may have another
    wanted = begun.form.response_format
    body = await services.audio.run(encode, wanted, pcm, begun.made)
    begun.playback.finish()
    return WholeAnswer(services, begun, account, body)


class _Answer(Response):
    """Sends a body part by part, each within the time that a client has for it. A body that cannot be finished is cut
    off, so that the client sees it."""

    def __init__(self, services: Services, begun: Continuation, account: Account) -> None:
        self.background = None
        self.status_code = 200
        self._services, self._begun, self._account = services, begun, account

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._deliver(receive, send)
        except TimeoutError:
            self._services.metrics.slow_client.labels("cancelled").inc()
            self._account.end("cancelled")
            log.warning("slow client", frames=self._begun.playback.frames)
        except (ClientDisconnect, asyncio.CancelledError) as error:
            self._account.end("cancelled")
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _deliver(self, receive: Receive, send: Send) -> None:
        """Send head and body, to their end.

        Raises:
            ApiError: the stream failed before anything was sent.
            TimeoutError, ClientDisconnect: the client does not take it.
        """
        raise NotImplementedError

    async def _send_part(self, send: Send, part: bytes, last: bool = False) -> None:
        if part or last:  # codecs fill a page before there is anything to send
            async with asyncio.timeout(self._services.settings.send_seconds):
                await send({"type": "http.response.body", "body": part, "more_body": not last})


class WholeAnswer(_Answer):
    """A finished body. What the client has not taken waits here, counted for the request, and not in the socket."""

    def __init__(self, services: Services, begun: Continuation, account: Account, body: bytes) -> None:
        super().__init__(services, begun, account)
        self._body = memoryview(body)

    async def _deliver(self, receive: Receive, send: Send) -> None:
        head = Response(
            headers=self._begun.headers(whole=True) | {"Content-Length": str(len(self._body))},
            media_type=MEDIA_TYPES[self._begun.form.response_format],
        )
        await or_gone(receive, self._send(send, head))
        self._account.end("completed")

    async def _send(self, send: Send, head: Response) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": head.raw_headers})
        for at in range(0, len(self._body), _PART_BYTES):
            await self._send_part(send, bytes(self._body[at : at + _PART_BYTES]))
        await self._send_part(send, b"", last=True)


class StreamedAnswer(_Answer):
    """Sends the body as it is generated."""

    async def _deliver(self, receive: Receive, send: Send) -> None:
        body = self._body()
        try:
            first = await or_gone(receive, anext(body))
            start = Response(
                headers=self._begun.headers(whole=False), media_type=MEDIA_TYPES[self._begun.form.response_format]
            )
            del start.headers["content-length"]  # of the empty body that this response does not send
            await or_gone(receive, self._send(send, start, first, body))
            self._account.end("completed")
        except ApiError as error:
            self._account.refuse(error)
            if self._begun.playback.frames == 0:
                raise
            log.error("body cut off", code=error.code, frames=self._begun.playback.frames)
        finally:
            await body.aclose()
            self._begun.playback.finish()

    async def _send(self, send: Send, start: Response, first: bytes, body: AsyncIterator[bytes]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": start.raw_headers})
        await self._send_part(send, first)
        async for part in body:
            await self._send_part(send, part)
        await self._send_part(send, b"", last=True)

    async def _body(self) -> AsyncGenerator[bytes, None]:
        begun = self._begun
        wanted = begun.form.response_format
        total = len(begun.lead_in) // 2 + begun.form.frames * HOP
        raw, realtime = wanted in ("wav", "pcm"), begun.stream.plan.pace == "realtime"
        encoding = encoder(wanted, total, begun.made)
        before = begun.lead_in
        async for pcm in begun.playback.messages():
            if raw or (realtime and not before):  # so little at a time that a thread would cost more than the work
                part = encoding.push(before + pcm)
            else:  # a whole prompt takes long
                pool = self._services.audio if before else self._services.live
                part = await pool.run(encoding.push, before + pcm)
            yield part
            begun.playback.sent(len(pcm) // (2 * HOP), gathering=not part)
            before = b""
        _require_complete(begun)
        yield encoding.finish() if raw else await self._services.live.run(encoding.finish)
        begun.playback.gathered()


def _require_complete(begun: Continuation) -> None:
    if begun.stream.status != "completed" or begun.playback.frames != begun.form.frames:
        log.error("stream ended early", status=begun.stream.status, frames=begun.playback.frames)
        raise internal()
