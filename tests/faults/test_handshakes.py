"""What comes to the wrong door is told so in the envelope, and where the right one is."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.support.faults import check_error
from tests.support.http import HTTP


@pytest.mark.parametrize(
    "path", ["/v1/stream", "/stream/", "/realtime", "/nope", "/", "/continue", "/static/style.css"]
)
def test_a_websocket_where_there_is_none(server: str, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(server.replace("http", "ws", 1) + path, open_timeout=30):
        pass
    answer = refused.value.response
    assert answer.status_code == 404 and answer.headers["X-Request-Id"]
    assert answer.headers["Content-Type"] == "application/json" and answer.body is not None
    error = json.loads(answer.body)["error"]
    check_error(error, "WebSocket", "/stream", "/v1/realtime")
    assert (error["type"], error["code"], error["param"]) == ("not_found_error", "not_found", None)


@pytest.mark.parametrize(
    "offered", [["json"], ["openai-insecure-api-key.x", "realtime"], ["openai-insecure-api-key.x"]]
)
def test_a_subprotocol_is_selected_so_that_a_browser_stays(server: str, offered: list[str]) -> None:
    address = server.replace("http", "ws", 1) + "/stream"
    with connect(address, subprotocols=[Subprotocol(one) for one in offered], open_timeout=30) as socket:
        assert socket.subprotocol == offered[-1]
        assert json.loads(socket.recv(30))["type"] == "session.created"


@pytest.mark.parametrize("path", ["/stream", "/v1/realtime"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_websocket_is_no_page(server: str, method: str, path: str) -> None:
    answer = HTTP.request(method, f"{server}{path}")
    assert answer.status_code == 426
    assert answer.headers["upgrade"] == "websocket" and answer.headers["connection"].lower() == "upgrade"
    assert answer.headers["x-request-id"]
    if method != "HEAD":
        error = answer.json()["error"]
        check_error(error, f"{path} is a WebSocket")
        assert (error["type"], error["code"]) == ("invalid_request_error", "not_a_websocket")
