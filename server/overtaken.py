"""Work that an event may overtake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


async def unless(event: Coroutine[Any, Any, object], error: Callable[[], Exception], work: Awaitable[_T]) -> _T:
    """Return the result of ``work``, unless ``event`` ends before it.

    Raises:
        Exception: that of ``error``; the work is cancelled.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.create_task(event)
    try:
        await asyncio.wait([task, watch], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise error()
        return task.result()
    finally:
        for each in (task, watch):
            each.cancel()
        await asyncio.wait([task, watch])
