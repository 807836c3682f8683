"""Clients that vanish without a word, at every step, leave nothing behind."""

from __future__ import annotations

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.support.audio import SPEECH, pcm_of, speech
from tests.support.faults import GOOD_PROMPT
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics, wait_for_idle, wait_until

pytestmark = pytest.mark.usefixtures("recovers")


def after_connecting(live: LiveSocket) -> None:
    pass


def after_the_update(live: LiveSocket) -> None:
    live.update(seed=1)


def amid_a_file(live: LiveSocket) -> None:
    live.send(SPEECH.read_bytes()[:20_000])


def amid_raw_samples(live: LiveSocket) -> None:
    live.update(input={"format": "pcm_s16le", "sample_rate": 16_000})
    live.send(pcm_of(speech(1.0, 16_000)))


def with_the_commit(live: LiveSocket) -> None:
    live.send(GOOD_PROMPT)
    live.event("input_audio_buffer.commit")


def after_the_commit(live: LiveSocket) -> None:
    live.commit(GOOD_PROMPT)


def with_the_create(live: LiveSocket) -> None:
    live.commit(GOOD_PROMPT)
    live.event("response.create", response={"seconds": None})


def amid_a_response(live: LiveSocket) -> None:
    live.commit(GOOD_PROMPT)
    live.create(None)
    assert isinstance(live.receive(), bytes)


def amid_a_fast_response(live: LiveSocket) -> None:
    live.update(pace="fast")
    amid_a_response(live)


STEPS = [
    after_connecting,
    after_the_update,
    amid_a_file,
    amid_raw_samples,
    with_the_commit,
    after_the_commit,
    with_the_create,
    amid_a_response,
    amid_a_fast_response,
]


@pytest.mark.parametrize("step", STEPS)
def test_on_the_websocket(server: str, step: Callable[[LiveSocket], None]) -> None:
    live = LiveSocket(server)
    step(live)
    live.drop()
    wait_for_idle(server)


def test_eight_at_once(server: str) -> None:
    sockets = [LiveSocket(server) for _ in range(8)]
    for live in sockets:
        amid_a_response(live)
    assert Metrics(server).sum("whispergpt_streams_active") == 8
    for live in sockets:
        live.drop()
    wait_for_idle(server)


def form(*fields: tuple[str, str]) -> bytes:
    """The bytes of a request up to the middle of its file."""
    parts = [f'--line\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields]
    return ("".join(parts) + '--line\r\nContent-Disposition: form-data; name="audio"; filename="p"\r\n\r\n').encode()


def send_post(url: str, body: bytes, length: int) -> socket.socket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), timeout=30)
    head = (
        f"POST /continue HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=line\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def test_amid_a_posted_upload(server: str) -> None:
    body = form(("seconds", "5")) + GOOD_PROMPT[:20_000]
    send_post(server, body, length=10 * len(body)).close()
    wait_for_idle(server)


@pytest.mark.parametrize("stream", ["true", "false"])
def test_amid_a_posted_continuation(server: str, stream: str) -> None:
    body = form(("seconds", "600"), ("stream", stream)) + GOOD_PROMPT + b"\r\n--line--\r\n"
    connection = send_post(server, body, length=len(body))
    if stream == "true":
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    else:
        wait_until(lambda: Metrics(server).sum("whispergpt_streams_active") == 1, "the continuation is generated")
    connection.close()
    wait_for_idle(server)
