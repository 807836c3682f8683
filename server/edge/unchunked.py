"""Bodies of unknown size for HTTP/1.0, which has no chunks: sent as they are, to the end of the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope


def unchunked(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """Return ``app`` with unchunked bodies; uvicorn closes the connection of an HTTP/1.0 request."""

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        sized = True

        async def plainly(message: ASGISendEvent) -> None:
            nonlocal sized
            if message["type"] == "http.response.start":
                sized = any(name.lower() == b"content-length" for name, _ in message.get("headers", []))
                if not sized:
                    cycle.chunked_encoding = False
            elif message["type"] == "http.response.body" and not sized:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, plainly)

    return run
