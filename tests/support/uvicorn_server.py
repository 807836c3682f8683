"""uvicorn with the server's own protocols, in this process, around an app of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvicorn

from whispergpt.server.edge.connection.shared_bounds import SharedBounds
from whispergpt.server.edge.http_protocol import BoundedHttpProtocol


@asynccontextmanager
async def serving(app: Any, bounds: SharedBounds | None = None) -> AsyncIterator[int]:
    """Serve ``app``; gives the port."""
    protocol: Any = partial(BoundedHttpProtocol, bounds=bounds or SharedBounds())
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None, port=0)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it says so by nothing else
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task
