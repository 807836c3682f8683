"""Parts of libraries that are not promised, and that the server's protocols build on, are where they were."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import tomllib
from collections.abc import AsyncGenerator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
import uvicorn
from packaging.requirements import Requirement
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartParser
from typer._click.exceptions import ClickException
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.server import ServerProtocol

from whispergpt.server.edge.connection.reading_flow import ReadingFlow
from whispergpt.server.edge.http_protocol import BoundedHttpProtocol
from whispergpt.server.edge.ws_protocol import BoundedWebSocketProtocol

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES: list[str] = PROJECT["dependencies"]


def test_uvicorn_is_bounded_by_the_version_that_this_was_written_for() -> None:
    assert "uvicorn>=0.54,<0.55" in DEPENDENCIES
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


SANSIO = "uvicorn.protocols.websockets.websockets_sansio_impl"
PRIVATE = [
    ("starlette", "starlette.formparsers:MultiPartParser.on_headers_finished", "server/http/upload.py"),
    ("starlette", "starlette.formparsers:MultiPartParser.spool_max_size", "server/http/upload.py"),
    ("starlette", "starlette.formparsers:MultipartPart.content_disposition", "server/http/upload.py"),
    ("starlette", "starlette.formparsers:MultipartPart.field_name", "server/http/upload.py"),
    ("websockets", "websockets.streams:StreamReader.at_eof", "server/edge/ws_protocol.py"),
    ("websockets", "websockets.streams:StreamReader.read_exact", "server/edge/ws_protocol.py"),
    ("websockets", "websockets.streams:StreamReader.discard", "server/edge/ws_protocol.py"),
    ("websockets", "websockets.protocol:Protocol.parse", "server/edge/ws_protocol.py"),
    ("websockets", "websockets.protocol:Protocol.fail", "server/edge/ws_protocol.py"),
    ("websockets", "websockets.frames:Frame.data", "server/edge/ws_protocol.py"),
    ("uvicorn", f"{SANSIO}:WebSocketsSansIOProtocol.handle_parser_exception", "server/edge/ws_protocol.py"),
    ("typer", "typer._click.exceptions:ClickException.format_message", "cli/main.py"),
    ("typer", "typer.main:get_command", "cli/main.py"),
    ("triton", "triton.runtime.interpreter:_patch_lang_tensor", "engine/gpu/language.py"),
    ("triton", "triton.runtime.interpreter:InterpreterBuilder.create_dot", "engine/gpu/language.py"),
    ("triton", "triton.runtime.interpreter:TensorHandle", "engine/gpu/language.py"),
]
"""Parts of libraries that no documentation promises: the distribution, the part, and the file that builds on it."""


@pytest.mark.parametrize(("package", "part", "user"), PRIVATE, ids=[part for _, part, _ in PRIVATE])
def test_each_private_part_is_there_and_its_library_is_bounded(package: str, part: str, user: str) -> None:
    module, _, path = part.partition(":")
    found: object = importlib.import_module(module)
    *parents, last = path.split(".")
    for name in parents:
        found = getattr(found, name)
    assert hasattr(found, last) or last in getattr(found, "__annotations__", {}), part
    assert path.split(".")[-1] in (ROOT / user).read_text(), f"{user} no longer uses {part}"
    known = [*DEPENDENCIES, *PROJECT["optional-dependencies"]["kernels"]]
    (bound,) = (each for each in map(Requirement, known) if each.name == package)
    assert {each.operator for each in bound.specifier} == {">=", "<"}, f"{package} needs both bounds"
    assert bound.specifier.contains(version(package)), f"read {user} again, then move the bound"


def test_state_of_the_form_parser_and_of_websockets_is_there() -> None:
    parser = MultiPartParser(Headers(), _nothing())
    assert hasattr(parser, "_current_part")
    socket = ServerProtocol()
    for name in ("reader", "parser", "current_size", "handshake_exc", "close_sent"):
        assert hasattr(socket, name), name
    assert hasattr(socket.reader, "buffer")


def test_the_base_of_typers_errors_is_where_the_command_looks() -> None:
    assert typer.BadParameter.__mro__[2] is ClickException


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield b""


def test_the_lowest_versions_are_those_of_pyproject() -> None:
    """``make lowest`` tests with them; torch is left out."""
    lower = {each.name: each.specifier for each in map(Requirement, DEPENDENCIES) if each.name != "torch"}
    lines = [line for line in (ROOT / "constraints-lowest.txt").read_text().splitlines() if not line.startswith("#")]
    lowest = dict(line.split("==") for line in lines)
    assert lowest == {
        name: next(one.version for one in bounds if one.operator == ">=") for name, bounds in lower.items()
    }
