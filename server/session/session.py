"""One ``/stream`` session: the order of its events, and the answers to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import assert_never

from whispergpt.server.access.caller import Caller
from whispergpt.server.admission.accounting import Account, count_refusal
from whispergpt.server.errors import GOING_AWAY, ApiError, bad_value, wrong_order
from whispergpt.server.link.places import Place
from whispergpt.server.observe import logs
from whispergpt.server.parameters import Wishes, check_wishes, sampling_for
from whispergpt.server.services import Services
from whispergpt.server.session import events
from whispergpt.server.session.inbox import Inbox
from whispergpt.server.session.prompt import SessionPrompt
from whispergpt.server.session.response import StreamResponse
from whispergpt.server.session.response_request import continuation
from whispergpt.server.session.resumption import Resumption
from whispergpt.server.session.socket import IncomingMessage, StreamSocket

log = logs.get("server.stream")
_PLACE_SECONDS = 1.0
"""Seconds for which a place is kept after a commit, until ``response.create``."""


class StreamSession:
    """A session on one connection. ``run`` ends when the client leaves or the session must be closed.

    Raises:
        ApiError: the handshake asks for something that there is not.
    """

    def __init__(self, services: Services, socket: StreamSocket, caller: Caller, session_id: str) -> None:
        self._services, self._socket, self._caller, self._id = services, socket, caller, session_id
        self._options = socket.first_options(services.engines.models)
        self._prompt = SessionPrompt(services, caller, socket.held)
        self._inbox = Inbox()
        self._response: StreamResponse | None = None
        self._place: Place | None = None
        self._silent = asyncio.Event()
        self._silent.set()
        self._quiet_since = time.monotonic()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Handle messages until the end, and then free everything that the session took.

        Raises:
            ApiError: the session must be closed with this error.
            ClientGoneError: the client left.
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
            self._inbox.clear()
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
                        Account(self._services.metrics, self._socket.route).refuse(error)
                    raise
                refusal = error.with_traceback(None)  # whose frames hold the message
            del message  # gone before the client, which may not read, is told anything
            self._socket.held.handled()
            if refusal is not None:
                await self._refuse(refusal)
            self._quiet_since = time.monotonic()

    async def _refuse(self, error: ApiError) -> None:
        """Send an error; the session goes on."""
        count_refusal(self._services.metrics, error)
        log.info("message refused", code=error.code, param=error.param)
        await self._socket.send_error(error)

    async def _next(self) -> IncomingMessage:
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
            return message

    def _prompt_left(self) -> float:
        """Return the seconds that are left to commit the prompt."""
        if self._prompt.began is None:
            return inf
        return self._prompt.began + self._services.settings.prompt_seconds - time.monotonic()

    async def _forget_prompt(self) -> None:
        self._prompt.forget()
        await self._refuse(self._prompt.too_late())

    async def _handle(self, message: IncomingMessage) -> None:
        with self._socket.read(message) as parts:
            for part in parts:
                if isinstance(part, bytes):
                    await self._add(part)
                else:
                    await self._obey(part, message.at)

    async def _add(self, audio: bytes) -> None:
        options = self._options
        with self._response_spared():
            if self._prompt.state == "empty":
                # Before somebody speaks for seconds, and before their prompt takes the time of those who play.
                self._services.guard.require_known(self._caller)
                if self._response is None:
                    link = self._services.engines.link(options.model.id, options.pace)
                    self._services.admission.require_room(link, options.model, options.pace)
                self._caller.pay(0.0)  # refuses whose allowance is used up
            await self._prompt.add(audio, options)

    async def _obey(self, event: events.ClientEvent, at: float) -> None:
        match event:
            case events.SessionUpdate():
                self._update(event.session)
                await self._socket.send_event("session.updated", session=self._options.describe(self._id))
            case events.BufferClear():
                self._prompt.clear()
                self._give_place_back()
                await self._socket.send_event("input_audio_buffer.cleared")
            case events.BufferCommit():
                with self._response_spared():
                    self._services.guard.require_known(self._caller)
                    seconds = await self._commit()
                await self._socket.send_event("input_audio_buffer.committed", seconds=round(seconds, 6))
            case events.ResponseCreate():
                with self._response_spared():
                    self._services.guard.require_known(self._caller)
                await self._create(event.response, at)
            case events.ResponseCancel():
                if self._response is None:
                    raise wrong_order("There is no response to cancel.")
                self._response.cancel()
            case events.ResponseFork():
                await self._fork(event.seed)
            case events.ResponsePause() | events.ResponseResume():
                await self._pause(isinstance(event, events.ResponsePause))
            case events.ResponseFeed():
                await self._playing("shared").say_feed()
            case events.ResponseFeedCancel():
                await self._socket.send_event("response.feed.cancelled", **self._playing("shared").cancel_feed())
            case events.PlaybackReport():
                if self._response is not None:  # one that comes a moment too late is no mistake
                    self._response.report(event.played_frames, event.underruns)
            case _:
                assert_never(event)

    @contextmanager
    def _response_spared(self) -> Iterator[None]:
        """Keep the connection of a response that plays open where there is no room for more or the key is gone."""
        try:
            yield
        except ApiError as error:
            if self._response is not None and error.status in (401, 429):
                error.close_code = None
            raise

    async def _commit(self) -> float:
        """Have the prompt encoded, or refuse it before if there is no place for its stream."""
        options, services, place = self._options, self._services, None
        services.engines.ready()  # refuse before the work of decoding
        await self._prompt.decode(options.input_format)  # in its turn, which takes no place from others
        link = self._prompt.link or services.engines.link(options.model.id, options.pace)
        if self._prompt.state == "collecting" and self._response is None and self._caller.has_room:
            place = services.admission.keep_place(link, options.model, options.pace, self._caller)
            self._place = place
        try:
            seconds = await self._prompt.commit(link, options.model, options.pace)
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

    async def _create(self, fields: events.ResponseFields, began: float) -> None:
        if self._response is not None:
            raise wrong_order("A response is playing; wait for response.done or send response.cancel.")
        options = self._options.for_response(fields)
        if fields.resume_token is not None:
            resumption = Resumption(self._services, fields, fields.resume_token)
            self._give_place_back()  # a session has one at most
            request = await resumption.request(self._caller, options, began)
        elif fields.from_frame is not None:
            raise bad_value("response.from_frame", "response.from_frame needs a response.resume_token.")
        else:
            limit = self._services.settings.max_stream_seconds
            request = continuation(self._prompt, options, fields, limit, self._place, began)
        try:
            response = StreamResponse(self._services, self._socket, self._caller, request)
        finally:
            if request.place is not None:
                request.place.give_back()
            if fields.resume_token is not None:
                request.prompt.close()  # the response has it; the session's own prompt stays as it is
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

    async def _fork(self, seed: int | None) -> None:
        if self._response is None:
            raise wrong_order("There is no response to fork.")
        wishes = Wishes(seed=seed)
        check_wishes(wishes)
        told = await self._response.fork(sampling_for(wishes, self._options.model).seed)
        await self._socket.send_event("response.forked", **told)

    async def _pause(self, paused: bool) -> None:
        done = "paused" if paused else "resumed"
        response = self._playing(done)
        if response.paused == paused:
            raise wrong_order("The response is paused already." if paused else "The response is not paused.")
        await self._socket.send_event(f"response.{done}", **response.pause(paused))

    def _playing(self, done: str) -> StreamResponse:
        """Return the response that plays.

        Raises:
            ApiError: there is none that could be ``done`` something to.
        """
        response = self._response
        if response is None or response.over:
            raise wrong_order(f"There is no response that could be {done}.")
        return response

    def _update(self, fields: events.SessionFields) -> None:
        options = self._options.updated(fields, self._services.engines.models)
        if options.input != self._options.input and self._prompt.state != "empty":
            raise wrong_order("The model and the input are fixed once audio came; send input_audio_buffer.clear first.")
        if self._response is not None:
            if options.without_sampling() != self._options.without_sampling():
                raise wrong_order("While a response plays, only temperature, top_k and top_p can change.")
            self._response.change_sampling(options.sampling_in(fields))
        self._options = options

    async def _close_when_draining(self) -> None:
        await self._services.engines.drain_begun.wait()
        await self._silent.wait()
        raise ApiError(503, "draining", "The server is shutting down; connect again later.", close_code=GOING_AWAY)
