"""The WebSocket ``/stream``, and the refusal of WebSockets at addresses without one."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket

from whispergpt.server.errors import ApiError
from whispergpt.server.session.serve import no_page, serve
from whispergpt.server.session.socket import StreamSocket

router = APIRouter()
router.add_api_route(StreamSocket.route, no_page, methods=["GET", "HEAD", "POST"], include_in_schema=False)


@router.websocket(StreamSocket.route)
async def stream(websocket: WebSocket) -> None:
    """Serve one session."""
    await serve(websocket, StreamSocket)


@router.websocket("/{path:path}")
async def elsewhere(websocket: WebSocket) -> None:
    """Refuse a WebSocket at any other address as over HTTP, before it is accepted."""
    told = (
        f"There is no WebSocket at {websocket.url.path}; there is one at {StreamSocket.route}, and at /v1/realtime for "
        "clients of OpenAI's Realtime API."
    )
    await websocket.send_denial_response(ApiError(404, "not_found", told).response())
