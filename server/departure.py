"""Work for a client that may leave before it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Message

CLIENT_LEFT = 499
"""The status of an answer to nobody."""
_T = TypeVar("_T")


async def or_gone(receive: Callable[[], Awaitable[Message]], work: Coroutine[Any, Any, _T] | Awaitable[_T]) -> _T:
    """Do ``work`` while the client is there.

    Raises:
        ClientDisconnect: it left; the work is cancelled.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait([task, watch], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for each in (task, watch):
            each.cancel()
        await asyncio.wait([task, watch])


async def _gone(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
