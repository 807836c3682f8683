"""``POST /v1/tokens``: makes a token that opens one WebSocket, for a page to use; and the caller of every route."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from whispergpt.server.access.caller import Caller
from whispergpt.server.admission.accounting import count_refusal
from whispergpt.server.errors import ApiError
from whispergpt.server.http.refusals import refusals
from whispergpt.server.services import services_of

router = APIRouter()


class SocketToken(BaseModel):
    """Token that opens one WebSocket."""

    token: str
    expires_in: float = Field(description="Seconds.")


async def caller_of(request: Request) -> Caller:
    """Return the caller of a route, or refuse the request; callers are changed on the event loop alone."""
    services = services_of(request.app)
    try:
        return services.guard.caller_of(request)
    except ApiError as error:
        count_refusal(services.metrics, error)
        raise


RequestCaller = Annotated[Caller, Depends(caller_of)]


@router.post("/v1/tokens", summary="A token that opens /stream once", tags=["access"], responses=refusals(401, 503))
async def make_token(request: Request) -> SocketToken:
    """Make a token that opens one ``/stream?token=…`` within ``expires_in`` seconds."""
    services = services_of(request.app)
    try:
        token = services.guard.token_for(request)
    except ApiError as error:
        count_refusal(services.metrics, error)
        raise
    return SocketToken(token=token, expires_in=services.guard.tokens.seconds)
