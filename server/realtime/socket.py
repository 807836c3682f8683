"""The WebSocket of one session whose client speaks OpenAI's Realtime API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from msgspec import UNSET
from starlette.websockets import WebSocket

from whispergpt.engine.messages.events import ModelInfo
from whispergpt.server.errors import POLICY_VIOLATION, ApiError, bad_value, wrong_order
from whispergpt.server.parameters import find_model
from whispergpt.server.realtime import client_events
from whispergpt.server.realtime.server_events import Asked, ServerEvents
from whispergpt.server.services import Services
from whispergpt.server.session import events
from whispergpt.server.session.options import SAMPLING, StreamOptions
from whispergpt.server.session.socket import IncomingMessage, StreamSocket

_NOT_HERE = ("call_id", "intent")
"""Fields of the API's address for what this server does not do."""
_BETA_HEADER, _BETA_SUBPROTOCOL = "realtime=v1", "openai-beta.realtime-v1"


@dataclass(frozen=True)
class _Message(IncomingMessage):
    """A message whose base64 is decoded; ``refusal`` is an error that was found meanwhile."""

    event_id: str | None = None
    refusal: ApiError | None = None


class RealtimeSocket(StreamSocket):
    """Translates between the API's events and the session's.

    A response without a length has that of ``POST /continue``: clients of this API wait for its end. Audio after a
    commit begins another prompt.
    """

    route: ClassVar[str] = "/v1/realtime"

    def __init__(self, websocket: WebSocket, services: Services) -> None:
        super().__init__(websocket, services)
        self._events = ServerEvents()
        self._limit: client_events.TokenLimit = UNSET
        """Most tokens of a response in the ``session.update`` that is being handled."""
        self._clearing = False

    def first_options(self, models: Mapping[str, ModelInfo]) -> StreamOptions:
        """Return the options with which the session begins: PCM of the model that the address names."""
        asked = self._address_fields("model", "token", *_NOT_HERE)
        headers = self._websocket.headers
        beta = (
            _BETA_HEADER in headers.get("openai-beta", "") or _BETA_SUBPROTOCOL in self._websocket.scope["subprotocols"]
        )
        try:
            if beta:
                told = "This server speaks the API as it is since its beta; leave the header OpenAI-Beta out."
                raise bad_value("OpenAI-Beta", told, "unsupported")
            for name in _NOT_HERE:
                if name in asked:
                    told = f"There are no calls and no transcription here; leave {name} out."
                    raise bad_value(name, told, "unsupported")
            return StreamOptions(find_model(models, asked.get("model")), input_format="pcm_s16le", checkpoints=False)
        except ApiError as error:
            error.close_code = POLICY_VIOLATION
            raise

    async def receive(self) -> IncomingMessage:
        """Return the next message; audio is decoded at once, so that its base64 is not kept until its turn.

        Raises:
            ClientGoneError: there is none.
            ApiError: the client's share of the memory is used up.
        """
        message = await super().receive()
        content, at = message.content, message.at
        if isinstance(content, bytes):
            told = "This API sends audio as base64 in input_audio_buffer.append; /stream takes binary messages."
            return _Message(b"", at, refusal=bad_value(None, told, "unsupported"))
        try:
            append = client_events.decode_append(content)
        except ApiError as refusal:
            return _Message("", at, refusal=refusal.with_traceback(None))
        if append is None:
            return _Message(content, at)
        return _Message(append.audio, at, client_events.repeatable(append.event_id))

    @contextmanager
    def read(self, message: IncomingMessage) -> Iterator[Sequence[events.ClientEvent | bytes]]:
        """Give what the session is to do for a message; errors leave with the id of the client's event.

        Raises:
            ApiError: the message is no event of the API, or asks for something that this server cannot do.
        """
        assert isinstance(message, _Message)
        event_id = message.event_id
        try:
            if message.refusal is not None:
                raise message.refusal
            if isinstance(message.content, bytes):
                yield self._add(message.content)
            else:
                event = client_events.parse(message.content)
                event_id = client_events.repeatable(event.event_id)
                yield (self._translate(event),)
        except ApiError as error:
            if error.event_id is None:
                error.event_id = event_id
            raise

    async def send_event(self, kind: str, **fields: Any) -> None:
        """Send the API's events for one of the session's.

        Raises:
            ClientGoneError: one could not be sent in time.
        """
        if kind == "session.updated" and self._limit is not UNSET:
            self._events.limit = self._limit
        if kind == "input_audio_buffer.cleared":
            self._events.committed = False
            if self._clearing:
                return
        for name, translated in self._events.translate(kind, fields):
            await super().send_event(name, **translated)

    async def send_audio(self, pcm: bytes) -> None:
        """Send audio as base64.

        Raises:
            ClientGoneError: it could not be sent in time.
        """
        kind, fields = self._events.delta(pcm)
        await super().send_event(kind, **fields)

    async def send_error(self, error: ApiError) -> None:
        """Send an error in the API's form, with the id of the client's event that it is about.

        Raises:
            ClientGoneError: it could not be sent in time.
        """
        again = {} if error.retry_after is None else {"retry_after": error.retry_after}
        await super().send_event("error", error={**error.body(), "event_id": error.event_id}, **again)

    def _add(self, audio: bytes) -> Sequence[events.ClientEvent | bytes]:
        self._clearing = self._events.committed
        return (events.BufferClear(), audio) if self._clearing else (audio,)

    def _translate(self, event: client_events.RealtimeEvent) -> events.ClientEvent:
        """Return the session's event for one of the API's; the rest of it is noted for the answer."""
        match event:
            case client_events.SessionUpdate():
                return self._update(event.session)
            case client_events.ResponseCreate():
                return self._create(event.response)
            case client_events.ResponseCancel():
                if event.response_id not in (None, self._events.response_id):
                    raise wrong_order("The response with that response_id does not play; leave response_id out.")
                return events.ResponseCancel()
            case client_events.BufferCommit():
                return events.BufferCommit()
            case _:
                self._clearing = False
                return events.BufferClear()

    def _update(self, fields: client_events.SessionFields) -> events.ClientEvent:
        most = self._services.settings.max_stream_seconds
        client_events.frames_of(fields.max_output_tokens, most, "session.max_output_tokens")
        self._limit = fields.max_output_tokens
        known = {name: getattr(fields, name) for name in ("model", "pace", *SAMPLING)}
        return events.SessionUpdate(session=events.SessionFields(**known))

    def _create(self, fields: client_events.ResponseFields) -> events.ClientEvent:
        session_limit = self._events.limit
        seconds, limited = client_events.seconds_of(fields, session_limit, self._services.settings.max_stream_seconds)
        own = fields.max_output_tokens
        self._events.asked = Asked(
            client_events.metadata_of(fields), session_limit if own in (None, UNSET) else own, limited
        )
        sampling = {name: getattr(fields, name) for name in SAMPLING}
        return events.ResponseCreate(response=events.ResponseFields(seconds=seconds, **sampling))
