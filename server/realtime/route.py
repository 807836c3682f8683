"""The WebSocket ``/v1/realtime``."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket

from whispergpt.server.realtime.socket import RealtimeSocket
from whispergpt.server.session.serve import no_page, serve

router = APIRouter()
router.add_api_route(RealtimeSocket.route, no_page, methods=["GET", "HEAD", "POST"], include_in_schema=False)


@router.websocket(RealtimeSocket.route)
async def realtime(websocket: WebSocket) -> None:
    """Serve one session to a client of OpenAI's Realtime API."""
    await serve(websocket, RealtimeSocket)
