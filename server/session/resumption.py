"""The rest of a response of another time or place, which a token describes."""

from __future__ import annotations

from contextlib import ExitStack

from whispergpt.engine.config import FRAME_RATE
from whispergpt.server.access.caller import Caller
from whispergpt.server.errors import ApiError, bad_value
from whispergpt.server.services import Services
from whispergpt.server.session.events import ResponseFields
from whispergpt.server.session.options import StreamOptions
from whispergpt.server.session.wanted import Wanted
from whispergpt.server.tokens.resume_tokens import model_of, unusable


class Resumption:
    """A response that is to go on.

    Args:
        fields: of ``response.create``.
        sealed: its resume token.

    Raises:
        ApiError: the token cannot be used here, or not with these fields.
    """

    def __init__(self, services: Services, fields: ResponseFields, sealed: str) -> None:
        if fields.seconds is not None:
            raise bad_value("response.seconds", "How long a resumed response is stands in its token.")
        self._services = services
        self._link = services.supervisor.link()
        self._token = services.tokens.open(sealed)
        self._model = model_of(self._token, self._link.models)
        self._start = self._token.first_sent(fields.from_frame)

    async def wanted(self, caller: Caller, options: StreamOptions, began: float) -> Wanted:
        """Have the engine recall the stream, and return the response from there on, with a place kept for it.

        Raises:
            ApiError: there is no room, the caller has had enough, or the engine cannot recall it.
        """
        caller.require_room()
        token, pace = self._token, options.pace
        with ExitStack() as undo:
            admission = self._services.admission
            place = undo.enter_context(admission.keep_place(self._link, self._model, pace, caller))
            async with caller.prompt_turn():
                recalled = self._link.recall_prompt(self._model, token.memory, caller.identity)
                prompt = undo.enter_context(recalled)
                try:
                    seconds = (await prompt.made()).frames / FRAME_RATE
                except ApiError as error:
                    if error.code == "bad_token":
                        raise unusable("another version of the server made it") from None
                    raise
            undo.pop_all()  # they are the response's now
        caller.charge(seconds)  # it was worked on as a prompt is
        return Wanted(
            prompt,
            token.sampling,
            token.frames,
            pace,
            options.output_format,
            began,
            first_frame=token.frame,
            from_frame=self._start,
            resumed=True,
            place=place,
            prompt_seconds=seconds,
        )
