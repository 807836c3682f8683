"""Serves one WebSocket, from its acceptance to its close, and refuses requests for its address that open none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from fastapi import Request, Response, WebSocket

from whispergpt.server.access.guard import KEY_SUBPROTOCOL
from whispergpt.server.admission.accounting import Account, count_refusal
from whispergpt.server.edge.handshake import asks_for_websocket
from whispergpt.server.errors import ApiError, internal
from whispergpt.server.observe import logs
from whispergpt.server.services import services_of
from whispergpt.server.session.session import StreamSession
from whispergpt.server.session.socket import ClientGoneError, StreamSocket

log = logs.get("server.stream")


async def serve(websocket: WebSocket, protocol: type[StreamSocket]) -> None:
    """Serve one session in a protocol. It accepts always, and then sends the error, if there is one."""
    services = services_of(websocket.app)
    cleanup: AsyncExitStack = websocket.state.cleanup
    await websocket.accept(_selected(websocket.scope["subprotocols"]))
    socket = protocol(websocket, services)
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
            Account(services.metrics, socket.route).refuse(error)
        log.info("session closed", code=error.code)
        await socket.close(error)
    except Exception:
        log.exception("session failed")
        await socket.close(internal())


async def no_page(request: Request) -> Response:
    """Refuse a request for a WebSocket's address as for a page, or with half a handshake."""
    if asks_for_websocket(request.headers.raw):
        needed = "a GET of HTTP/1.1 without a body, with Sec-WebSocket-Key and Sec-WebSocket-Version"
        told = f"This is no WebSocket handshake, which is {needed}."
        return ApiError(400, "bad_request", told).response({"Connection": "close"})
    told = f"{request.url.path} is a WebSocket: open it with a WebSocket client, not as a page."
    raise ApiError(426, "not_a_websocket", told)


def _selected(offered: Sequence[str]) -> str | None:
    """Return the first subprotocol that is no key; a browser drops a connection that selects none of those offered."""
    return next((one for one in offered if not one.startswith(KEY_SUBPROTOCOL)), next(iter(offered), None))
