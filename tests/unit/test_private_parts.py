"""Parts of libraries that are not promised, and that the server's protocols build on, are where they were."""

from __future__ import annotations

import asyncio
import inspect
import tomllib
from pathlib import Path

import uvicorn
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from whispergpt.server.edge.connection.reading_flow import ReadingFlow
from whispergpt.server.edge.http_protocol import BoundedHttpProtocol
from whispergpt.server.edge.ws_protocol import BoundedWebSocketProtocol


def test_uvicorn_is_bounded_by_the_version_that_this_was_written_for() -> None:
    written = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "uvicorn>=0.54,<0.55" in written
    assert uvicorn.__version__.startswith("0.54."), "read the protocols again, then move the bound"


def test_methods_that_are_replaced_are_called_with_the_same_arguments() -> None:
    for ours, theirs in (
        (BoundedHttpProtocol, HttpToolsProtocol),
        (BoundedWebSocketProtocol, WebSocketsSansIOProtocol),
    ):
        mine = {name for name, value in vars(ours).items() if inspect.isfunction(value)}
        for name in mine & set(dir(theirs)) - set(dir(asyncio.Protocol)) - {"__init__"}:
            assert list(inspect.signature(getattr(ours, name)).parameters) == list(
                inspect.signature(getattr(theirs, name)).parameters
            ), name


def test_hooks_that_are_replaced_are_there() -> None:
    for name in (
        "_should_upgrade",
        "_should_upgrade_to_ws",
        "_start_asgi_task",
        "_unset_keepalive_if_required",
        "handle_websocket_upgrade",
        "on_response_complete",
    ):
        assert name in vars(HttpToolsProtocol), name
    assert {"hold", "release"}.isdisjoint(vars(flow_control.FlowControl))
    assert httptools_impl.FlowControl is flow_control.FlowControl


def test_state_that_is_read_is_there() -> None:
    async def look() -> None:
        async def app(scope: object, receive: object, send: object) -> None: ...

        config = uvicorn.Config(app, lifespan="off")  # type: ignore[arg-type]
        config.load()
        http = HttpToolsProtocol(config, ServerState(), {})
        for name in ("cycle", "flow", "headers", "parser", "timeout_keep_alive_task", "connections", "loop"):
            assert hasattr(http, name), name
        for name in ("response_started", "response_complete", "keep_alive", "chunked_encoding"):
            assert f"self.{name}" in inspect.getsource(RequestResponseCycle.__init__), name
        flow = ReadingFlow(asyncio.Transport())
        assert flow.read_paused is False and hasattr(flow, "_transport")
        socket = WebSocketsSansIOProtocol(config, ServerState(), {})
        for name in ("conn", "queue", "frames", "read_paused", "writable", "handshake_complete", "close_sent"):
            assert hasattr(socket, name), name

    asyncio.run(look())
