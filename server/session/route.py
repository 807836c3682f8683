"""The WebSocket ``/stream``: it accepts always, and then sends the error, if there is one."""

from __future__ import annotations

from contextlib import AsyncExitStack

from fastapi import APIRouter, Request, Response, WebSocket

from whispergpt.server.admission.accounting import Account, count_refusal
from whispergpt.server.edge.handshake import asks_for_websocket
from whispergpt.server.errors import ApiError, internal
from whispergpt.server.observe import logs
from whispergpt.server.services import services_of
from whispergpt.server.session.response import ROUTE
from whispergpt.server.session.session import StreamSession
from whispergpt.server.session.socket import ClientGoneError, StreamSocket

log = logs.get("server.stream")
router = APIRouter()


@router.websocket(ROUTE)
async def stream(websocket: WebSocket) -> None:
    """Serve one session, from its acceptance to its close."""
    services = services_of(websocket.app)
    cleanup: AsyncExitStack = websocket.state.cleanup
    await websocket.accept()
    count_bytes = services.admission.connection_bytes
    socket = StreamSocket(websocket, services.settings.send_seconds, services.metrics, count_bytes)
    cleanup.callback(socket.held.close)
    begun = False
    try:
        caller = services.guard.caller_of(websocket)
        socket.held.belong_to(caller)
        services.engines.ready()  # starting and draining are told before anything else
        services.admission.enter_session()
        cleanup.callback(services.admission.leave_session)
        cleanup.enter_context(caller.connection())
        session = StreamSession(services, socket, caller, websocket.state.request_id)
        begun = True
        await session.run()
    except ClientGoneError:
        return
    except ApiError as error:
        if begun:
            count_refusal(services.metrics, error)
        else:
            Account(services.metrics, ROUTE).refuse(error)
        log.info("session closed", code=error.code)
        await socket.close(error)
    except Exception:
        log.exception("session failed")
        await socket.close(internal())


@router.api_route(ROUTE, methods=["GET", "HEAD", "POST"], include_in_schema=False)
async def no_page(request: Request) -> Response:
    """Refuse a request for it as for a page, or with half a handshake."""
    if asks_for_websocket(request.headers.raw):
        needed = "a GET of HTTP/1.1 without a body, with Sec-WebSocket-Key and Sec-WebSocket-Version"
        told = f"This is no WebSocket handshake, which is {needed}."
        return ApiError(400, "bad_request", told).response({"Connection": "close"})
    told = f"{ROUTE} is a WebSocket: open it with a WebSocket client, not as a page."
    raise ApiError(426, "not_a_websocket", told)


@router.websocket("/{path:path}")
async def elsewhere(websocket: WebSocket) -> None:
    """Refuse a WebSocket at any other address as over HTTP, before it is accepted."""
    told = f"There is no WebSocket at {websocket.url.path}; there is one at {ROUTE}."
    await websocket.send_denial_response(ApiError(404, "not_found", told).response())
