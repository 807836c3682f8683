"""One ``/stream`` session: what may come when, and what is said in answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import inf
from typing import assert_never

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.messages import StreamPlan
from whispergpt.server.access.caller import Caller
from whispergpt.server.admission.accounting import Account, count_refusal
from whispergpt.server.admission.held_bytes import MAX_TEXT_BYTES
from whispergpt.server.errors import GOING_AWAY, ApiError, bad_value, wrong_order
from whispergpt.server.link.places import Place
from whispergpt.server.observe import logs
from whispergpt.server.parameters import Wishes, check_wishes, find_model, frames_for, sampling_for
from whispergpt.server.services import Services
from whispergpt.server.session.events import (
    BufferClear,
    BufferCommit,
    ClientEvent,
    PlaybackReport,
    ResponseCancel,
    ResponseCreate,
    ResponseFields,
    ResponseFork,
    ResponsePause,
    ResponseResume,
    SessionFields,
    SessionUpdate,
    parse_event,
    require_audio,
)
from whispergpt.server.session.options import StreamOptions
from whispergpt.server.session.prompt import SessionPrompt
from whispergpt.server.session.response import ROUTE, ResponseRequest, StreamResponse
from whispergpt.server.session.socket import Incoming, StreamSocket
from whispergpt.server.tokens.resume_tokens import model_of, unusable

log = logs.get("server.stream")
_INBOX = 16
_INBOX_BYTES = 1_048_576
"""Bytes of audio that wait to be handled; a message that is larger waits alone."""
_PLACE_SECONDS = 1.0
"""How long a place is kept for who has committed a prompt and has not asked for a response yet."""


class StreamSession:
    """Everything of one connection. ``run`` ends when the client leaves or the session must be closed."""

    def __init__(self, services: Services, socket: StreamSocket, caller: Caller, session_id: str) -> None:
        self._services, self._socket, self._caller, self._id = services, socket, caller, session_id
        self._options = StreamOptions(find_model(services.supervisor.link().models, None))
        self._prompt = SessionPrompt(services, caller, socket.held)
        self._inbox: asyncio.Queue[Incoming] = asyncio.Queue(_INBOX)
        self._inbox_bytes = {str: 0, bytes: 0}
        self._taken = asyncio.Event()
        self._response: StreamResponse | None = None
        self._place: Place | None = None
        self._silent = asyncio.Event()
        self._silent.set()
        self._quiet_since = time.monotonic()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Talk until the end; everything that the session took is freed then.

        Raises:
            ApiError: the session must be closed with this error.
            ClientGone: the client left.
        """
        end: BaseException | None = None
        try:
            await self._run_tasks()
        except BaseExceptionGroup as group:
            # The first that ended decides; the others were cancelled for it.
            end = group.exceptions[0]
        finally:
            # A task that is cancelled before its first step never runs its own clean-up.
            if self._response is not None:
                self._response.close()
            self._give_place_back()
            self._prompt.clear()
            self._tasks = None
            while not self._inbox.empty():
                self._inbox.get_nowait()
        # Raised out here, and let go of, the error refers neither to the group nor to itself: messages that its frames
        # hold are freed with it, and not when the garbage collector comes.
        try:
            if end is not None:
                raise end
        finally:
            del end

    async def _run_tasks(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._receive())
            tasks.create_task(self._converse())
            tasks.create_task(self._close_when_draining())

    async def _receive(self) -> None:
        # Always reading: that is how a client that leaves is noticed at once, whatever is under way.
        while True:
            message = await self._socket.receive()
            kind, most = (str, MAX_TEXT_BYTES) if isinstance(message.content, str) else (bytes, _INBOX_BYTES)
            while self._inbox_bytes[kind] and self._inbox_bytes[kind] + len(message.content) > most:
                self._taken.clear()
                await self._taken.wait()
            self._inbox_bytes[kind] += len(message.content)
            await self._inbox.put(message)
            del message  # it is no longer this task's, which waits for the next

    async def _converse(self) -> None:
        await self._socket.send_event("session.created", session=self._options.describe(self._id))
        while True:
            message = await self._next()
            if self._response is not None:
                await self._response.say_created()
            refusal: ApiError | None = None
            try:
                await self._handle(message)
            except ApiError as error:
                if error.close_code is not None:
                    if self._response is None:  # else that one ends, as what it is
                        Account(self._services.metrics, ROUTE).refuse(error)
                    raise
                refusal = error.with_traceback(None)  # whose frames hold the message
            del message  # gone before the client, which may not read, is told anything
            self._socket.held.handled()
            if refusal is not None:
                await self._refuse(refusal)
            self._quiet_since = time.monotonic()

    async def _refuse(self, error: ApiError) -> None:
        """Tell the client what was refused; the session goes on."""
        count_refusal(self._services.metrics, error)
        log.info("message refused", code=error.code, param=error.param)
        await self._socket.send_error(error)

    async def _next(self) -> Incoming:
        idle = self._services.settings.idle_seconds
        while True:
            left = idle if self._response else self._quiet_since + idle - time.monotonic()
            prompt_left = self._prompt_left()
            if prompt_left <= 0:
                await self._forget_prompt()
                continue
            if left <= 0:
                raise ApiError(
                    408,
                    "idle_timeout",
                    f"Nothing was sent for {idle:g} s; the session is closed.",
                    close_code=GOING_AWAY,
                )
            try:
                async with asyncio.timeout(min(left, prompt_left)):
                    message = await self._inbox.get()
            except TimeoutError:
                continue
            self._socket.held.take()
            self._inbox_bytes[type(message.content)] -= len(message.content)
            self._taken.set()
            return message

    def _prompt_left(self) -> float:
        """Return the seconds that are left to commit the prompt."""
        if self._prompt.began is None:
            return inf
        return self._prompt.began + self._services.settings.prompt_seconds - time.monotonic()

    async def _forget_prompt(self) -> None:
        self._prompt.forget()
        await self._refuse(self._prompt.too_late())

    async def _handle(self, message: Incoming) -> None:
        options = self._options
        if isinstance(message.content, bytes):
            require_audio(message.content)
            with self._response_spared():
                if self._prompt.state == "empty":
                    # Before somebody speaks for seconds, and before their prompt takes the time of those who play.
                    self._services.guard.require_known(self._caller)
                    if self._response is None:
                        link = self._services.supervisor.link()
                        self._services.admission.require_room(link, options.model, options.pace)
                    self._caller.pay(0.0)  # refuses whose allowance is used up
                await self._prompt.add(message.content, options.model, options.input_format, options.input_rate)
            return
        event: ClientEvent = parse_event(message.content)
        match event:
            case SessionUpdate():
                self._update(event.session)
                await self._socket.send_event("session.updated", session=self._options.describe(self._id))
            case BufferClear():
                self._prompt.clear()
                self._give_place_back()
                await self._socket.send_event("input_audio_buffer.cleared")
            case BufferCommit():
                with self._response_spared():
                    self._services.guard.require_known(self._caller)
                    seconds = await self._commit()
                await self._socket.send_event("input_audio_buffer.committed", seconds=round(seconds, 6))
            case ResponseCreate():
                with self._response_spared():
                    self._services.guard.require_known(self._caller)
                await self._create(event.response, message.at)
            case ResponseCancel():
                if self._response is None:
                    raise wrong_order("There is no response to cancel.")
                self._response.cancel()
            case ResponseFork():
                await self._fork(event.seed)
            case ResponsePause() | ResponseResume():
                await self._pause(isinstance(event, ResponsePause))
            case PlaybackReport():
                if self._response is not None:  # one that comes a moment too late is no mistake
                    self._response.report(event.played_frames, event.underruns)
            case _:
                assert_never(event)

    @contextmanager
    def _response_spared(self) -> Iterator[None]:
        """Keep the connection open where a response plays, and there is no room for more or the key was taken away."""
        try:
            yield
        except ApiError as error:
            if self._response is not None and error.status in (401, 429):
                error.close_code = None
            raise

    async def _commit(self) -> float:
        """Have the prompt worked on; who would find no place afterwards is told so before."""
        options, services, place = self._options, self._services, None
        link = services.supervisor.link()
        await self._prompt.decode(options.input_format)  # in its turn, which takes no place from others
        if self._prompt.state == "collecting" and self._response is None and self._caller.has_room:
            place = services.admission.keep_place(link, options.model, options.pace, self._caller)
            self._place = place
        try:
            seconds = await self._prompt.commit(link, options.model)
        except BaseException:
            if place is not None:
                place.give_back()
            raise
        if place is not None:
            asyncio.get_running_loop().call_later(_PLACE_SECONDS, place.give_back)
        return seconds

    def _give_place_back(self) -> None:
        if self._place is not None:
            self._place.give_back()

    async def _create(self, fields: ResponseFields, began: float) -> None:
        if self._response is not None:
            raise wrong_order("A response is playing; wait for response.done or send response.cancel.")
        if fields.resume_token is not None:
            wanted = await self._recalled(fields, fields.resume_token, began)
        elif fields.from_frame is not None:
            raise bad_value("response.from_frame", "response.from_frame needs a response.resume_token.")
        else:
            wanted = self._asked(fields, began)
        try:
            response = StreamResponse(self._services, self._socket, self._caller, wanted)
        finally:
            if wanted.place is not None:
                wanted.place.give_back()
            if fields.resume_token is not None:
                wanted.prompt.close()  # the response has it; the session's own prompt stays as it is
        if fields.resume_token is None:
            self._prompt.paid_seconds = 0.0
        self._response = response
        self._silent.clear()

        async def run() -> None:
            try:
                await response.run()
            finally:
                self._response = None
                self._silent.set()
                self._quiet_since = time.monotonic()

        assert self._tasks is not None
        self._tasks.create_task(run())

    def _asked(self, fields: ResponseFields, began: float) -> ResponseRequest:
        """A continuation of the committed prompt."""
        prompt, options = self._prompt.committed(), self._options
        seconds, limit = fields.seconds, self._services.settings.max_stream_seconds
        frames = None if seconds is None else frames_for(seconds, "response.seconds", limit)
        plan = StreamPlan(options.sampling, frames, options.pace, snapshots=prompt.model.resumable)
        return ResponseRequest(prompt, plan, options.output_format, began, self._place, self._prompt.paid_seconds)

    async def _recalled(self, fields: ResponseFields, sealed: str, began: float) -> ResponseRequest:
        """The rest of a response of another time or place."""
        if fields.seconds is not None:
            raise bad_value("response.seconds", "How long a resumed response is stands in its token.")
        link = self._services.supervisor.link()
        token = self._services.tokens.open(sealed)
        model = model_of(token, link.models)
        start = token.first_sent(fields.from_frame)
        self._give_place_back()  # a session has one at most
        self._caller.require_room()
        with ExitStack() as undo:
            admission, pace = self._services.admission, self._options.pace
            place = undo.enter_context(admission.keep_place(link, model, pace, self._caller))
            async with self._caller.prompt_turn():
                prompt = undo.enter_context(link.resume_prompt(model, token.snapshot, self._caller.identity))
                try:
                    seconds = (await prompt.made()).frames / FRAME_RATE
                except ApiError as error:
                    if error.code == "bad_token":
                        raise unusable("another version of the server made it") from None
                    raise
            undo.pop_all()  # they are the response's now
        self._caller.charge(seconds)  # it was worked on as a prompt is
        plan = StreamPlan(
            token.sampling,
            None if token.frames is None else token.frames - token.frame,
            self._options.pace,
            first_frame=token.frame,
            skipped=start - token.frame,
            snapshots=model.resumable,
            resumed=True,
        )
        return ResponseRequest(prompt, plan, self._options.output_format, began, place, seconds)

    async def _fork(self, seed: int | None) -> None:
        if self._response is None:
            raise wrong_order("There is no response to fork.")
        wishes = Wishes(seed=seed)
        check_wishes(wishes)
        told = await self._response.fork(sampling_for(wishes, self._options.model).seed)
        await self._socket.send_event("response.forked", **told)

    async def _pause(self, paused: bool) -> None:
        response, done = self._response, "paused" if paused else "resumed"
        if response is None or response.over:
            raise wrong_order(f"There is no response that could be {done}.")
        if response.paused == paused:
            raise wrong_order("The response is paused already." if paused else "The response is not paused.")
        await self._socket.send_event(f"response.{done}", **response.pause(paused))

    def _update(self, fields: SessionFields) -> None:
        options = self._options.updated(fields, self._services.supervisor.link().models)
        if options.input != self._options.input and self._prompt.state != "empty":
            raise wrong_order("The model and the input are fixed once audio came; send input_audio_buffer.clear first.")
        if self._response is not None:
            if options.without_sampling() != self._options.without_sampling():
                raise wrong_order("While a response plays, only temperature, top_k and top_p can change.")
            self._response.change_sampling(options.sampling_in(fields))
        self._options = options

    async def _close_when_draining(self) -> None:
        await self._services.supervisor.drain_begun.wait()
        await self._silent.wait()
        raise ApiError(503, "draining", "The server is shutting down; connect again later.", close_code=GOING_AWAY)
