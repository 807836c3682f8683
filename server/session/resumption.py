"""Resumption: the rest of an earlier response, perhaps of another server, which a token describes."""

from __future__ import annotations

from contextlib import ExitStack

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.stream_plan import StreamPlan
from whispergpt.server.access.caller import Caller
from whispergpt.server.errors import ApiError, bad_value
from whispergpt.server.services import Services
from whispergpt.server.session.events import ResponseFields
from whispergpt.server.session.options import SAMPLING, StreamOptions
from whispergpt.server.session.response_request import ResponseRequest
from whispergpt.server.tokens.resume_tokens import model_of, unusable


class Resumption:
    """A response that is resumed from a token.

    Args:
        fields: those of ``response.create``.
        sealed: its resume token.

    Raises:
        ApiError: the token cannot be used here, or not with these fields.
    """

    def __init__(self, services: Services, fields: ResponseFields, sealed: str) -> None:
        for name in ("seconds", *SAMPLING):
            if getattr(fields, name) is not None:
                told = f"response.{name} of a resumed response stands in its token; leave it out."
                raise bad_value(f"response.{name}", told)
        self._services = services
        models = services.engines.models
        self._token = services.tokens.open(sealed)
        self._model = model_of(self._token, models)
        self._start = self._token.first_sent(fields.from_frame)
        self._feed = fields.feed

    async def request(self, caller: Caller, options: StreamOptions, began: float) -> ResponseRequest:
        """Have the engine resume the stream, and return the request for its rest, with a place kept for it.

        Raises:
            ApiError: there is no room, the caller is over a limit, or the engine cannot resume it.
        """
        caller.require_room()
        token, pace = self._token, options.pace
        link = self._services.engines.link(self._model.id, pace)
        with ExitStack() as undo:
            admission = self._services.admission
            place = undo.enter_context(admission.keep_place(link, self._model, pace, caller))
            async with self._services.precedence.prompt_turn(caller):
                resumed = link.resume_prompt(self._model, token.snapshot, caller.identity)
                prompt = undo.enter_context(resumed)
                try:
                    seconds = (await prompt.made()).frames / FRAME_RATE
                except ApiError as error:
                    if error.code == "bad_token":
                        raise unusable("another version of the server made it") from None
                    raise
            undo.pop_all()  # the response owns them now
        caller.charge(seconds)  # it was encoded as a prompt is
        plan = StreamPlan(
            token.sampling,
            None if token.frames is None else token.frames - token.frame,
            pace,
            first_frame=token.frame,
            skipped=self._start - token.frame,
            snapshots=self._model.resumable,
            resumed=True,
        )
        return ResponseRequest(prompt, plan, options.output_format, began, place, seconds, self._feed)
