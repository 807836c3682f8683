"""``POST /v1/tokens``: a key's holder gets a token that opens one WebSocket, for a page to use."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from whispergpt.server.access.caller import Caller
from whispergpt.server.admission.accounting import count_refusal
from whispergpt.server.errors import ApiError
from whispergpt.server.services import services_of

router = APIRouter()


async def caller_of(request: Request) -> Caller:
    """A route's dependency: who calls; refuses who may not. On the event loop, as all that knows of callers."""
    services = services_of(request.app)
    try:
        return services.guard.caller_of(request)
    except ApiError as error:
        count_refusal(services.metrics, error)
        raise


Who = Annotated[Caller, Depends(caller_of)]


@router.post("/v1/tokens", summary="A token that opens /stream once", tags=["access"])
async def make_token(request: Request) -> dict[str, str | float]:
    """For ``/stream?token=…``, within ``expires_in`` seconds, once. Needs the key; an open server gives anybody one."""
    services = services_of(request.app)
    try:
        token = services.guard.token_for(request)
    except ApiError as error:
        count_refusal(services.metrics, error)
        raise
    return {"token": token, "expires_in": services.guard.tokens.seconds}
