"""WebSocket frames that no library would send: splinters, floods, messages without an end."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.support.faults import assert_serves, check_error
from tests.support.http import raw_connection
from tests.support.metrics import Metrics
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.server.admission.held_bytes import FREE_CONTROL_BYTES, MAX_TEXT_BYTES
from whispergpt.server.edge.connection.reading_pace import BURST_BYTES

UPGRADE = (
    b"GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
)
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
MASK = bytes(4)
"""Of zeros: what is masked with it is as it was."""
BEGUN = bytes([0x02, 0x80]) + MASK
"""An empty binary message that is not over."""
SPLINTER = bytes([0x00, 0x80]) + MASK
PING = bytes([0x89, 0x80]) + MASK
PONG = bytes([0x8A, 0x80]) + MASK

PART = bytes([0x00, 0xFE]) + struct.pack("!H", 1_024) + MASK + bytes(1_024)
HALF = b"\xfe" + struct.pack("!H", 9_000) + MASK
"""Size and mask of a frame of 9,000 bytes."""


def held_bytes(process: ServerProcess) -> tuple[float, float]:
    """Return how many bytes count as prompts, and how many as control messages."""
    metrics = Metrics(process.url)
    return metrics.sum("whispergpt_upload_bytes"), metrics.sum("whispergpt_control_bytes")


@contextmanager
def socket_to(url: str) -> Iterator[socket.socket]:
    with raw_connection(url) as wire:
        wire.sendall(UPGRADE + KEY)
        assert wire.recv(12) == b"HTTP/1.1 101"
        yield wire


def close_of(wire: socket.socket) -> tuple[int, str]:
    """Code and reason of the close frame at the end of all that comes."""
    came = b""
    with suppress(ConnectionResetError):  # what was sent beyond is not read
        while some := wire.recv(4096):
            came += some
    *_, last = came.split(b"\x88", 1)
    size = last[0]
    assert size < 126
    return struct.unpack("!H", last[1:3])[0], last[3 : 1 + size].decode()


@pytest.mark.parametrize("frames", [BEGUN + SPLINTER * 3_000, PING * 3_000, PONG * 3_000])
def test_splinters_end_their_connection(server: str, frames: bytes) -> None:
    with socket_to(server) as wire:
        wire.sendall(frames)
        code, reason = close_of(wire)
    assert code == 1008 and "in a second" in reason
    assert_serves(server)


def test_parts_of_a_size_may_be_many(server: str) -> None:
    """A prompt that is sent in frames of 1 KiB, as some libraries do, is one message in the end."""
    end = bytes([0x80, 0x80]) + MASK
    with socket_to(server) as wire:
        wire.sendall(BEGUN + PART * 3_000 + end)
        said = json.dumps({"type": "input_audio_buffer.commit"}).encode()
        wire.sendall(bytes([0x81, 0x80 | len(said)]) + MASK + said)
        with wire.makefile("rb") as answer:
            told = b""
            while b"not_audio" not in told:
                told += answer.read1(4096)
                assert told
    assert_serves(server)


def test_more_than_a_burst_is_read_to_its_end(server: str) -> None:
    """Reading pauses on the way, and goes on: each prompt is taken in and cleared, in its order."""
    megabyte = bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 20) + MASK + bytes(1 << 20)
    clear = json.dumps({"type": "input_audio_buffer.clear"}).encode()
    count = BURST_BYTES // (1 << 20) + 3
    with socket_to(server) as wire, wire.makefile("rb") as answer:
        for _ in range(count):
            wire.sendall(megabyte + bytes([0x81, 0x80 | len(clear)]) + MASK + clear)
        told = b""
        while told.count(b"input_audio_buffer.cleared") < count:
            told += answer.read1(4096)
            assert told
    assert_serves(server)


def test_frames_before_the_handshake_is_over_end_it(server: str) -> None:
    with raw_connection(server) as wire:
        wire.sendall(UPGRADE + KEY + PING * 3_000)
        with suppress(ConnectionResetError):
            while wire.recv(4096):
                pass
    assert_serves(server)


def test_messages_without_an_end_count_as_prompts() -> None:
    """All of their bytes, in one frame or in several; of a text, what is more than a control message may have."""
    settings = {"WHISPERGPT_UPLOAD_MEMORY_BYTES": str(5 << 20)}
    begun = bytes([0x82, 0xFF]) + struct.pack("!Q", 8 << 20) + MASK + bytes(2 << 20)
    with ServerProcess("--max-streams", "2", environment=settings) as process:
        for begin, audio, text in (
            (bytes([0x82, *HALF]) + bytes(8_000), 8_000, 0),
            (PING + bytes([0x82, *HALF]) + bytes(8_000), 8_000, 0),
            (BEGUN + bytes([0x00, *HALF]) + bytes(8_000), 8_000, 0),
            (BEGUN + PART + PING + PART[:-1], 2 * 1_024 - 1, 0),
            (bytes([0x81, *HALF]) + bytes(8_000), 0, 8_000),
            (bytes([0x01, 0x80]) + MASK + PART * 300, 300 * 1_024 - MAX_TEXT_BYTES, MAX_TEXT_BYTES),
        ):
            with socket_to(process.url) as wire:
                wire.sendall(begin)
                counted = (audio, max(0, text - FREE_CONTROL_BYTES))
                wait_until(lambda: held_bytes(process) == counted, "it is counted")  # noqa: B023
            wait_until(lambda: held_bytes(process) == (0, 0), "it is given back")
        with socket_to(process.url) as first:
            first.sendall(begun)
            wait_until(lambda: held_bytes(process) == (2 << 20, 0), "it is counted")
            with socket_to(process.url) as second:
                second.sendall(begun)
                code, reason = close_of(second)
            assert code == 1013 and reason.startswith("Too many bytes of prompts wait here")
        wait_until(lambda: held_bytes(process) == (0, 0), "it is given back")
        assert_serves(process.url)


@pytest.mark.parametrize(
    "rest",
    [
        b"\r\n",
        KEY.replace(b"Key: dGh", b"Key: "),
        b"Cookie: " + b"a" * 9_000 + b"\r\n" + KEY,
        b"Content-Length: 5\r\n" + KEY,
    ],
    ids=["no key", "bad key", "long", "body"],
)
def test_what_is_no_handshake_is_told_so(server: str, rest: bytes) -> None:
    with raw_connection(server) as wire:
        wire.sendall(UPGRADE + rest)
        with wire.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"application/json" in head
    check_error(json.loads(body)["error"], "no WebSocket handshake")
