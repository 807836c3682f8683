"""What one key makes the server hold and do is its own matter: others are served, and all of it is given back."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults.test_splinters import KEY, UPGRADE
from tests.support.audio import encode
from tests.support.faults import GOOD_PROMPT, check_error
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.stall import narrow_wire
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.server.access.api_keys import add_key

MIB = 1024 * 1024
PROMPT_SECONDS = 8.0
SETTINGS = {
    "WHISPERGPT_UPLOAD_MEMORY_BYTES": str(32 * MIB),
    "WHISPERGPT_CONTROL_MEMORY_BYTES": str(MIB),
    "WHISPERGPT_PROMPT_SECONDS": str(PROMPT_SECONDS),
    "WHISPERGPT_OPEN_METRICS": "true",
    "WHISPERGPT_PROMPT_CACHE_BYTES": "0",
    "WHISPERGPT_MAX_STREAMS": "8",
    "WHISPERGPT_SEND_BUFFER_BYTES": "4096",
    "WHISPERGPT_MAX_LOAD": "0",
}
Keys = dict[str, str]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.toml"


@pytest.fixture(scope="module")
def keys(file: Path) -> Keys:
    bounds = {"hog": (2, None), "other": (None, None), "frugal": (None, 30.0), "replaced": (None, None)}
    return {name: add_key(file, name, *bound) for name, bound in bounds.items()}


@pytest.fixture(scope="module")
def process(file: Path, keys: Keys) -> Iterator[ServerProcess]:
    assert keys
    with ServerProcess("--model", "speech", "--keys", str(file), environment=SETTINGS) as process:
        yield process


def session(process: ServerProcess, key: str, receive_buffer: int | None = None) -> LiveSocket:
    return LiveSocket(process.url, headers={"Authorization": f"Bearer {key}"}, receive_buffer=receive_buffer)


def post(process: ServerProcess, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    form = {"seconds": "0.04", "response_format": "pcm"}
    return HTTP.post(f"{process.url}/continue", data=form, files={"audio": GOOD_PROMPT}, headers=headers).status_code


def uploads(process: ServerProcess) -> float:
    return Metrics(process.url).sum("whispergpt_upload_bytes")


def fill(process: ServerProcess, key: str, open_sessions: ExitStack) -> list[LiveSocket]:
    """Send prompts that are not committed, in as many sessions as a key may have, and more than its share in all."""
    full = []
    for _ in range(8):
        hog = open_sessions.enter_context(session(process, key))
        full.append(hog)
        hog.send_too_much(bytes(MIB) for _ in range(3))
    return full


def test_one_key_leaves_memory_to_others(process: ServerProcess, keys: Keys) -> None:
    with ExitStack() as sessions, session(process, keys["other"]) as listener:
        listener.commit(GOOD_PROMPT)
        listener.create(None)
        hogs = fill(process, keys["hog"], sessions)
        wait_until(lambda: uploads(process) > 8 * MIB, "what fits is taken")
        assert uploads(process) < 17 * MIB, "half of all"
        assert post(process, keys["other"]) == 200
        with session(process, keys["other"]) as socket:
            socket.commit(encode(np.zeros(30 * 16_000, np.float32), rate=16_000))
        listener.event("response.pause")  # a control message, however full the pot of prompts is
        while isinstance(message := listener.receive(), bytes):
            pass
        assert message["type"] == "response.paused"
        assert {hog.close_code() for hog in hogs} == {None, 1013}, "what exceeds a share is refused"
    wait_until(lambda: uploads(process) == 0, "all is given back")


def test_a_prompt_that_is_not_committed_is_forgotten(process: ServerProcess, keys: Keys) -> None:
    with session(process, keys["hog"]) as socket:
        socket.send(bytes(3 * MIB))
        wait_until(lambda: uploads(process) == 3 * MIB, "it is counted")
        for _ in range(3):  # what is said meanwhile gives it no more time
            time.sleep(PROMPT_SECONDS / 8)
            socket.update()
        error = socket.expect_error()
        check_error(error, f"not committed within {PROMPT_SECONDS:g} s", "the prompt again")
        assert (error["code"], error["param"]) == ("prompt_timeout", "audio")
        assert uploads(process) == 0
        socket.send(GOOD_PROMPT)  # the rest of it is no prompt of its own
        assert socket.expect_error()["code"] == "prompt_timeout"
        socket.clear()
        assert socket.commit(GOOD_PROMPT) > 0, "the session goes on"
        socket.update(seed=1)


def frame(kind: int, payload: bytes) -> bytes:
    """A whole message, masked with zeros."""
    return bytes([0x80 | kind, 0xFF]) + struct.pack("!Q", len(payload)) + bytes(4) + payload


def stop_reading(process: ServerProcess, wire: socket.socket) -> None:
    """Cause errors, a few at a time, until there is no room for one more on its way to a client that reads none."""

    def told() -> float:
        return Metrics(process.url).sum("whispergpt_rejected_total", reason="wrong_order")

    expected = told()
    with suppress(AssertionError):
        while True:
            wire.sendall(frame(1, b'{"type": "response.cancel"}') * 8)
            expected += 8
            wait_until(partial(_at_least, told, expected), "they are told", seconds=2)


def _at_least(number: Callable[[], float], least: float) -> bool:
    return number() >= least


def test_memory_of_a_session_that_takes_nothing_comes_back(process: ServerProcess, keys: Keys) -> None:
    """Its messages wait, are counted while they do, and are gone with it: as seen from outside."""
    before = process.resident_mb()
    with narrow_wire(process.url, 4096) as wire:
        wire.settimeout(5)
        wire.sendall(UPGRADE + f"Authorization: Bearer {keys['hog']}\r\n".encode() + KEY)
        assert wire.recv(12) == b"HTTP/1.1 101"
        stop_reading(process, wire)
        with suppress(TimeoutError, ConnectionError):
            wire.sendall(frame(2, bytes(3 * MIB)) * 2)
        wait_until(lambda: 6 * MIB <= uploads(process) < 7 * MIB, "what waits is counted")
        assert process.resident_mb() < before + 80
    wait_until(lambda: uploads(process) == 0, "it is given back", seconds=60)
    wait_until(lambda: process.resident_mb() < before + 24, "the system has it again", seconds=60)


def test_a_flood_of_refusals_fills_no_log(process: ServerProcess, keys: Keys) -> None:
    before = len(process.log())
    with session(process, keys["hog"]) as socket:
        for _ in range(2_000):
            socket.event("response.cancel")
        for _ in range(2_000):
            check_error(socket.expect_error(), "no response to cancel")
    lines = [json.loads(line) for line in process.log()[before:].splitlines()]
    refusals = [line for line in lines if line["event"] == "message refused"]
    assert 10 <= len(refusals) <= 200 and refusals[0]["key"] == "hog"


def test_prompts_are_paid_for(process: ServerProcess, keys: Keys) -> None:
    random = np.random.default_rng(0)
    with session(process, keys["frugal"]) as socket:
        for _ in range(20):
            socket.send(encode(random.normal(0, 0.05, 24_000 * 20).astype(np.float32)))
            socket.event("input_audio_buffer.commit")
            answer = socket.receive()
            assert isinstance(answer, dict)
            if answer["type"] == "error":
                break
            socket.clear()
        assert answer["type"] == "error" and answer["error"]["code"] == "key_audio", answer
    assert post(process, keys["frugal"]) == 429
    assert post(process, keys["other"]) == 200


def test_a_prompt_that_uses_the_allowance_up_still_has_its_response(process: ServerProcess, file: Path) -> None:
    """A key of its own, so that nothing is used yet."""
    with session(process, add_key(file, "thrifty", None, 10.0)) as socket:
        socket.commit(encode(np.random.default_rng(1).normal(0, 0.05, 24_000 * 20).astype(np.float32)))
        socket.update(pace="fast")
        socket.create(0.2)
        assert socket.read_response()[1]["status"] == "completed"
        socket.event("response.create", response={"seconds": 0.2})
        assert socket.expect_error()["code"] == "key_audio"


def test_places_of_prompts_are_within_a_keys_streams(process: ServerProcess, keys: Keys) -> None:
    slack = Metrics(process.url).sum("whispergpt_streams_slack")
    least = slack
    with ExitStack() as sessions:
        hogs = [sessions.enter_context(session(process, keys["hog"])) for _ in range(8)]
        for _ in range(3):
            for hog in hogs:
                hog.send(GOOD_PROMPT)
                hog.event("input_audio_buffer.commit")
            least = min(least, Metrics(process.url).sum("whispergpt_streams_slack"))
            for hog in hogs:
                hog.expect("input_audio_buffer.committed")
            least = min(least, Metrics(process.url).sum("whispergpt_streams_slack"))
            for hog in hogs:
                hog.clear()
    assert least >= slack - 2


def events_until(socket: LiveSocket, last: str) -> list[dict[str, Any]]:
    """All that is said until an event, audio left out."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != last:
        message = socket.receive()
        if isinstance(message, dict):
            events.append(message)
    return events


def test_a_session_of_a_key_that_was_replaced_opens_nothing_more(
    process: ServerProcess, keys: Keys, file: Path
) -> None:
    with session(process, keys["replaced"]) as playing, session(process, keys["replaced"]) as waiting:
        playing.commit(GOOD_PROMPT)
        playing.create(None)
        waiting.commit(GOOD_PROMPT)
        kept = [block for block in file.read_text().split("\n\n") if '"replaced"' not in block]
        file.write_text("\n\n".join(kept))
        new = add_key(file, "replaced", None, None)
        playing.event("input_audio_buffer.clear")
        playing.send(GOOD_PROMPT)
        assert events_until(playing, "error")[-1]["error"]["code"] == "wrong_key"
        frames = Metrics(process.url).sum("whispergpt_frames_total")
        wait_until(lambda: Metrics(process.url).sum("whispergpt_frames_total") > frames + 75, "what plays plays on")
        playing.event("response.cancel")
        told = events_until(playing, "response.done")
        assert [event["type"] for event in told if event["type"] == "error"] == []
        assert told[-1]["response"]["status"] == "cancelled"
        waiting.event("response.create", response={"seconds": 1})
        assert waiting.expect_error()["code"] == "wrong_key" and waiting.expect_close() == 1008
        playing.event("input_audio_buffer.clear")
        playing.expect("input_audio_buffer.cleared")
        playing.send(GOOD_PROMPT)
        assert playing.expect_error()["code"] == "wrong_key" and playing.expect_close() == 1008
    assert post(process, keys["replaced"]) == 401 and post(process, new) == 200


def test_an_address_of_a_key_that_was_replaced_plays_nothing(process: ServerProcess, file: Path) -> None:
    old = add_key(file, "lender", None, None)
    form, bearer = {"seconds": "0.2"}, {"Authorization": f"Bearer {old}"}
    made = HTTP.post(f"{process.url}/v1/play", data=form, files={"audio": GOOD_PROMPT}, headers=bearer)
    assert made.status_code == 201
    kept = [block for block in file.read_text().split("\n\n") if '"lender"' not in block]
    file.write_text("\n\n".join(kept))
    add_key(file, "lender", None, None)
    assert HTTP.get(process.url + made.json()["url"]).json()["error"]["code"] == "wrong_key"


def test_metrics_can_be_open_where_all_else_asks_for_a_key(process: ServerProcess) -> None:
    assert HTTP.get(f"{process.url}/metrics").status_code == 200
    assert HTTP.get(f"{process.url}/v1/models").status_code == 401


def test_audio_that_comes_another_way_is_told_where_it_goes(process: ServerProcess, keys: Keys) -> None:
    with session(process, keys["other"]) as socket:
        socket.event("input_audio_buffer.append", audio="AAAA")
        check_error(socket.expect_error(), "binary messages", "not as base64", "/v1/realtime")
        socket.send(json.dumps({"type": "input_audio_buffer.commit"}).encode())
        check_error(socket.expect_error(), "send JSON as a text message")
        assert socket.commit(GOOD_PROMPT) > 0, "neither is a part of the prompt"
