"""A request has one ``Host``; of a server that only its own machine can reach, it is a name of that machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.faults import check_error
from tests.support.wire import Answer, answers_to
from whispergpt.server.edge.host_check import HostCheck
from whispergpt.server.services import make_services
from whispergpt.server.settings import Settings

ROUTES = ("/metrics", "/v1/models", "/health/live", "/", "/docs", "/openapi.json", "/static/playground.css", "/none")


def _get(server: str, *hosts: str, path: str = "/metrics", version: str = "1.1") -> Answer:
    fields = "".join(f"Host: {host}\r\n" for host in hosts)
    (answer,) = answers_to(server, f"GET {path} HTTP/{version}\r\nConnection: close\r\n{fields}\r\n".encode())
    return answer


def _check(answer: Answer, status: int, code: str, *words: str) -> None:
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (status, code)
    check_error(error, *words)


def test_there_is_one(server: str) -> None:
    _check(_get(server), 400, "bad_host", "no Host header")
    _check(_get(server, "localhost", "localhost"), 400, "bad_host", "more than one")
    _check(_get(server, "localhost", "evil.example"), 400, "bad_host", "more than one")
    for host in ("a b", "a/b", "a@b", "[::1", "localhost:port", "a" * 300, "\x80", "localhost, localhost:1"):
        _check(_get(server, host), 400, "bad_host", "not a host")
    assert _get(server, version="1.0").status == 200, "HTTP/1.0 has none"


@pytest.mark.parametrize("path", ROUTES)
def test_pages_of_another_name_read_nothing(server: str, path: str) -> None:
    """Whose name leads here all the same (DNS rebinding)."""
    for host in (
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "",
    ):
        _check(_get(server, host, path=path), 403, "wrong_host", "localhost", "WHISPERGPT_CORS_ORIGINS")
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "127.8.8.8:80", "[::1]:8000", "tab.localhost", "localhost."):
        assert _get(server, host, path=path).status == (404 if path == "/none" else 200), host


def test_an_address_with_a_host_is_of_that_host(server: str) -> None:
    _check(_get(server, "localhost", path="http://evil.example/metrics"), 403, "wrong_host")
    assert _get(server, "evil.example", path="http://localhost/metrics").status == 200
    assert _get(server, "localhost", path="http://localhost:80").status == 200


def test_a_websocket_of_another_name_is_refused(server: str) -> None:
    url = server.replace("http", "ws", 1) + "/stream"
    headers = {"Host": "evil.example"}
    with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=headers, open_timeout=30):
        pass
    assert refused.value.response.status_code in (400, 403), "the client's library sends its own Host besides"
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    head = f"GET /stream HTTP/1.1\r\nHost: evil.example\r\n{upgrade}{key}\r\n"
    (answer,) = answers_to(server, head.encode(), half_close=True)
    _check(answer, 403, "wrong_host")


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, 403),
        ({"host": "::1"}, 403),
        ({"open": True}, 200),
        ({"host": "0.0.0.0"}, 200),
        ({"keys": Path("keys.toml")}, 200),
        ({"cors_origins": ["*"]}, 200),
        ({"cors_origins": "https://any.example,https://other.example"}, 200),
        ({"cors_origins": "https://other.example"}, 403),
        ({"open": True, "host": "0.0.0.0", "hosts": ["server"]}, 403),
        ({"open": True, "host": "0.0.0.0", "hosts": ["server", "ANY.example"]}, 200),
    ],
)
async def test_servers_that_others_reach_go_by_any_name_unless_told(settings: dict[str, Any], status: int) -> None:
    app = FastAPI()
    app.state.services = make_services(Settings())
    app.add_middleware(HostCheck, settings=Settings(**settings))
    app.add_api_route("/", lambda: "here")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://any.example") as client:
        assert (await client.get("/")).status_code == status
