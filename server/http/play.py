"""``/v1/play``: an address that plays a continuation, for clients that can only open one, such as ``<audio>``."""

from __future__ import annotations

import re
import time
from contextlib import AsyncExitStack, ExitStack
from typing import BinaryIO

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from whispergpt.server.access.caller import Caller
from whispergpt.server.admission.accounting import Account, count_refusal
from whispergpt.server.admission.admission import UploadMeter
from whispergpt.server.audio.encoders import MEDIA_TYPES, Format
from whispergpt.server.edge.departure import or_gone
from whispergpt.server.errors import ApiError
from whispergpt.server.http.continuation_answer import StreamedAnswer, answered, begin
from whispergpt.server.http.continuation_schema import PLAY_DOCS, PLAY_FORM_DOCS
from whispergpt.server.http.entry import RequestCaller
from whispergpt.server.http.play_addresses import HeldContinuation, KnownContinuation
from whispergpt.server.http.upload import ContinueForm, read_form
from whispergpt.server.parameters import find_model, query_fields, sampling_for
from whispergpt.server.services import Services, services_of

router = APIRouter(tags=["continuations"])
ROUTE = "/v1/play"
FIRST_BYTES: dict[Format, bytes] = {"wav": b"RI", "flac": b"fL", "mp3": b"ID", "opus": b"Og"}
"""Bytes that a body begins with, whatever is in it; pcm begins with sound."""
_PROBE = re.compile(r"bytes ?= ?0-([01])")
"""Range that Safari asks for first, as a probe."""


class PlayAddress(BaseModel):
    """An address, for one use."""

    url: str = Field(description="From the server's root on.")
    expires_in: float = Field(description="Seconds.")


@router.post(
    ROUTE,
    status_code=201,
    summary="An address that plays a continuation once",
    response_description="The address, for one use",
    **PLAY_FORM_DOCS,
)
async def make_address(request: Request, caller: RequestCaller) -> PlayAddress:
    """Make an address from a form of ``/continue``; errors are told here, where the client can read them."""
    services = services_of(request.app)
    held = ExitStack()
    try:
        services.admission.enter_request()
        request.state.cleanup.callback(services.admission.leave_request)
        held.enter_context(caller.connection())
        meter = UploadMeter(services.admission, services.settings, caller)
        held.callback(meter.release)
        caller.require_room()
        form, audio = await services.engines.unless_cut_off(read_form(request, meter, services.settings))
        decoding = or_gone(request.receive, _decode(services, form, audio, caller))
        decoded = await services.engines.unless_cut_off(decoding)
        meter.hold(len(decoded))
        token = await services.addresses.hold(HeldContinuation(form, caller, decoded, meter, held))
    except BaseException as error:
        held.close()
        if isinstance(error, ApiError):
            count_refusal(services.metrics, error)
        if isinstance(error, ClientDisconnect):
            raise ApiError(400, "cut_short", "The body did not come to its end.") from None
        raise
    return PlayAddress(url=f"{ROUTE}?token={token}", expires_in=services.addresses.seconds)


@router.get(ROUTE, summary="Play an address", response_class=Response, **PLAY_DOCS)
async def play(request: Request) -> Response:
    """Play an address at the pace of a listener. It needs no key, since its token was made with one.

    A player that asks for the first two bytes (``Range: bytes=0-1``) gets them, and the address stays good.
    """
    if probe := _PROBE.fullmatch(request.headers.get("range", "")[:64].strip()):
        known = await services_of(request.app).addresses.look(_token_in(request))
        return _probed(known.form.response_format, int(probe[1]))

    async def work(services: Services, cleanup: AsyncExitStack, account: Account) -> Response:
        token = _token_in(request)
        require_room(services, await services.addresses.look(token))  # who has to come again finds the address again
        held = await services.addresses.take(token)
        cleanup.callback(held.cleanup.close)
        services.guard.require_known(held.caller)
        asked = time.perf_counter()
        beginning = begin(
            services, ROUTE, held.caller, held.form, held.take_decoded(), asked, cleanup, held.meter, "realtime"
        )
        return StreamedAnswer(services, await or_gone(request.receive, beginning), account)

    return await answered(request, ROUTE, work)


@router.head(ROUTE, include_in_schema=False)
async def look(request: Request) -> Response:
    """Answer HEAD: the headers of what an address plays; it can be played afterwards."""
    held = await services_of(request.app).addresses.look(_token_in(request))
    return Response(headers=_head(held.form.response_format))


def _token_in(request: Request) -> str:
    """Return the token of an address. Raises ApiError: 400, the address has another field."""
    return query_fields(request.query_params, "token").get("token", "")


def _probed(wanted: Format, last: int) -> Response:
    """Answer with the first bytes of a body, up to the one numbered ``last``, without making the rest.

    Raises:
        ApiError: 416, they are not known before it plays.
    """
    if wanted not in FIRST_BYTES:
        told = f"The first bytes of {wanted} are sound, which is not there before it plays; ask without a Range."
        raise ApiError(416, "no_range", told)
    headers = _head(wanted) | {"Content-Range": f"bytes 0-{last}/*"}
    return Response(FIRST_BYTES[wanted][: last + 1], 206, headers)


def _head(wanted: Format) -> dict[str, str]:
    return {"Content-Type": MEDIA_TYPES[wanted], "Cache-Control": "no-store"}


def require_room(services: Services, held: KnownContinuation) -> None:
    """Refuse before the address is used up.

    Raises:
        ApiError: 429, there is no room; 503, there is no engine.
    """
    model = find_model(services.engines.models, held.form.model)
    services.admission.require_room(services.engines.link(model.id, "realtime"), model, "realtime")
    held.caller.require_room()


async def _decode(services: Services, form: ContinueForm, audio: BinaryIO, caller: Caller) -> bytes:
    """Return the samples of the form's recording, which is closed.

    Raises:
        ApiError: a model or a parameter cannot be used, or the audio cannot.
    """
    sampling_for(form.wishes, find_model(services.engines.models, form.model))
    with audio:
        return await services.decoders.decode(audio, caller)
