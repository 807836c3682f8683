"""Work for a client that may leave before it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Message

from whispergpt.server.overtaken import unless

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

CLIENT_LEFT = 499
"""Status that is logged where the client left."""
_T = TypeVar("_T")


async def or_gone(receive: Callable[[], Awaitable[Message]], work: Coroutine[Any, Any, _T] | Awaitable[_T]) -> _T:
    """Return the result of ``work``, unless the client leaves before.

    Raises:
        ClientDisconnect: the client left; the work is cancelled.
    """
    return await unless(_gone(receive), ClientDisconnect, work)


async def _gone(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def while_open(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """Return ``app`` with an answer that ends with its connection: asyncio would log writes to a lost one."""

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def if_open(message: ASGISendEvent) -> None:
            if cycle.transport.is_closing():
                cycle.disconnected = True  # the loop tells the protocol only after this task's turn
                await asyncio.sleep(0)
            await send(message)

        await app(scope, receive, if_open)

    return run
