"""Files that would hurt a server that decoded them itself: over every door, and with other keys beside them."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.audio import encode, speech
from tests.support.faults import check_error
from tests.support.http import HTTP, raw_connection
from tests.support.live_socket import LiveSocket
from tests.support.odd_files import wave_header
from tests.support.processes import alive, busy_child, children, running
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.server.access.api_keys import add_key

NURSERY = "whispergpt.engine.audio.nursery"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    return file, {name: add_key(file, name, None, None) for name in ("alice", "bob")}


@pytest.fixture(scope="module")
def process(keys: tuple[Path, dict[str, str]]) -> Iterator[ServerProcess]:
    with ServerProcess("--keys", str(keys[0]), environment={"WHISPERGPT_DECODE_SECONDS": "120"}) as process:
        yield process


class Visitor:
    """Somebody with a key, who uses any of the three doors."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.headers = url, {"Authorization": f"Bearer {key}"}

    def form(self, audio: bytes) -> dict[str, Any]:
        return {"files": {"audio": ("a", audio)}, "data": {"seconds": "0.1"}, "headers": self.headers}

    def over_http(self, audio: bytes) -> dict[str, Any] | None:
        """The error, if there is one."""
        answer = HTTP.post(f"{self.url}/continue", **self.form(audio))
        return None if answer.status_code == 200 else answer.json()["error"] | {"status": answer.status_code}

    def over_an_address(self, audio: bytes) -> dict[str, Any] | None:
        answer = HTTP.post(f"{self.url}/v1/play", **self.form(audio))
        if answer.status_code != 201:
            return answer.json()["error"] | {"status": answer.status_code}
        played = HTTP.get(self.url + answer.json()["url"])
        return None if played.status_code == 200 else played.json()["error"] | {"status": played.status_code}

    def over_a_socket(self, audio: bytes) -> dict[str, Any] | None:
        with LiveSocket(self.url, headers=self.headers) as session:
            for at in range(0, len(audio), 2**20):
                session.send(audio[at : at + 2**20])
            session.event("input_audio_buffer.commit")
            event = session.receive(within=120)
            assert isinstance(event, dict)
            return None if event["type"] == "input_audio_buffer.committed" else event["error"]


@pytest.fixture
def alice(process: ServerProcess, keys: tuple[Path, dict[str, str]]) -> Visitor:
    return Visitor(process.url, keys[1]["alice"])


@pytest.fixture
def bob(process: ServerProcess, keys: tuple[Path, dict[str, str]]) -> Visitor:
    return Visitor(process.url, keys[1]["bob"])


DOORS = pytest.mark.parametrize("door", [Visitor.over_http, Visitor.over_an_address, Visitor.over_a_socket])


@cache
def slow_upload() -> bytes:
    """Seconds of work: 59 seconds of noise on 64 channels."""
    noise = np.random.default_rng(0).standard_normal((24_000, 64)) * 0.01
    return encode(noise, 48_000, "OGG", "VORBIS") * 118


@DOORS
@pytest.mark.parametrize("channels", [8, 16, 64])
def test_many_channels_are_read(
    alice: Visitor, channels: int, door: Callable[[Visitor, bytes], dict[str, Any] | None]
) -> None:
    assert door(alice, wave_header(channels, 24_000) + bytes(24_000 * channels * 2)) is None


@DOORS
def test_a_decoder_that_crashes_costs_its_upload_alone(
    process: ServerProcess, alice: Visitor, bob: Visitor, door: Callable[[Visitor, bytes], dict[str, Any] | None]
) -> None:
    nursery = running(NURSERY, process.pid)
    errors: list[dict[str, Any] | None] = []
    upload = threading.Thread(target=lambda: errors.append(door(alice, slow_upload())))
    upload.start()
    pid = wait_until(lambda: busy_child(nursery), "a decoder works", PATIENCE_SECONDS)
    os.kill(pid, signal.SIGSTOP)
    assert bob.over_http(encode(speech(1.0))) is None, "another key's upload has a decoder of its own meanwhile"
    os.kill(pid, signal.SIGSEGV)
    os.kill(pid, signal.SIGCONT)
    upload.join()
    (error,) = errors
    assert error is not None
    check_error({name: error[name] for name in ("type", "code", "message", "param")}, "decoder", "crash")
    assert (error["code"], error.get("status", 422)) == ("undecodable", 422)
    assert alice.over_http(encode(speech(1.0))) is None
    assert running(NURSERY, process.pid) == nursery


@pytest.mark.parametrize("path", ["/continue", "/v1/play"])
def test_who_hangs_up_takes_its_decoder_along(process: ServerProcess, alice: Visitor, path: str) -> None:
    nursery = running(NURSERY, process.pid)
    body = HTTP.build_request("POST", f"{alice.url}/continue", **alice.form(slow_upload()))
    content = body.read()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {alice.headers['Authorization']}\r\n"
    head += f"Content-Type: {body.headers['content-type']}\r\nContent-Length: {len(content)}\r\n\r\n"
    with raw_connection(alice.url) as connection:
        connection.sendall(head.encode() + content)
        pid = wait_until(lambda: busy_child(nursery), "a decoder works", PATIENCE_SECONDS)
        os.kill(pid, signal.SIGSTOP)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # gone, not half closed
    wait_until(lambda: not alive(pid), "the decoder has ended", PATIENCE_SECONDS)


def test_nothing_is_left_of_a_server_that_is_killed(process: ServerProcess) -> None:
    """The last test of this file, as it ends the server of the others."""
    nursery = running(NURSERY, process.pid)
    decoders = wait_until(lambda: children(nursery), "there are decoders", PATIENCE_SECONDS)
    process.kill()
    wait_until(lambda: not any(map(alive, [nursery, *decoders])), "all have ended", PATIENCE_SECONDS)
