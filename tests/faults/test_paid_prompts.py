"""A key pays for the prompts that it has worked on, once, and for nothing that the server failed to do."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.audio import encode, speech
from tests.support.faults import GOOD_PROMPT, check_error
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics, wait_for_idle
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.server.access.api_keys import add_key

BEARS = 1_000_000
"""Bytes of prompts that one connection of a key may hold: a quarter of all."""
SETTINGS = {
    "WHISPERGPT_UPLOAD_MEMORY_BYTES": str(4 * BEARS),
    "WHISPERGPT_OPEN_METRICS": "true",
    "WHISPERGPT_MAX_STREAMS": "2",
    "WHISPERGPT_MAX_LOAD": "0",
}
LARGE_WHEN_DECODED = encode(np.zeros(59 * 24_000, np.float32), format="FLAC")
"""A few kB that become 5.7 MB of samples."""
Keys = dict[str, str]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Keys]]:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    bounds = {"ten": 10.0, "five": 5.0, "sixty": 60.0, "other": None, "unlucky": 5.0}
    made = {name: add_key(file, name, None, seconds) for name, seconds in bounds.items()}
    with ServerProcess("--model", "speech", "--keys", str(file), environment=SETTINGS) as process:
        yield process, made


def unknown(seed: int, seconds: float) -> bytes:
    """A prompt of which the server remembers nothing."""
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, int(seconds * 24_000)).astype(np.float32)
    return encode(noise, format="FLAC")


def session(process: ServerProcess, key: str) -> LiveSocket:
    return LiveSocket(process.url, headers={"Authorization": f"Bearer {key}"})


def post(process: ServerProcess, key: str, prompt: bytes, seconds: str = "0.04") -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    form = {"seconds": seconds, "response_format": "pcm"}
    return HTTP.post(f"{process.url}/continue", data=form, files={"audio": prompt}, headers=headers)


def seconds_to_wait(told: str) -> int:
    found = re.search(r"try again in (\d+) s", told)
    assert found, told
    return int(found[1])


def test_a_remembered_prompt_gives_back_what_it_cost_and_no_more(keys: tuple[ServerProcess, Keys]) -> None:
    process, made = keys
    live = (speech(0.55, 8_000) * 32_767).astype("<i2").tobytes()
    began = time.monotonic()
    with session(process, made["ten"]) as socket:
        socket.commit(unknown(1, 9.0))
        socket.clear()
        socket.update(input={"format": "pcm_s16le", "sample_rate": 8_000})
        for _ in range(60):
            socket.commit(live)
            socket.clear()
        socket.update(input={"format": "file"})
        socket.commit(unknown(2, 9.9))
        socket.clear()
        socket.send(GOOD_PROMPT)
        error = socket.expect_error()
    assert error["code"] == "key_audio"
    # 9.0, 0.5 and 9.9 s were paid, of which ten were there.
    # What is there now came with time, a sixth of a second each second.
    assert seconds_to_wait(error["message"]) >= 6 * 9.4 - (time.monotonic() - began) - 2


def test_what_a_prompt_becomes_is_counted_before_it_is_paid_for(keys: tuple[ServerProcess, Keys]) -> None:
    process, made = keys
    assert len(LARGE_WHEN_DECODED) < 10_000
    for _ in range(3):
        refused = post(process, made["sixty"], LARGE_WHEN_DECODED)
        assert refused.status_code == 413
        check_error(refused.json()["error"], f"{BEARS} bytes")
    with session(process, made["sixty"]) as socket:
        socket.send(LARGE_WHEN_DECODED)
        socket.event("input_audio_buffer.commit")
        assert socket.expect_error()["code"] == "too_large" and socket.expect_close() == 1009
    assert post(process, made["sixty"], GOOD_PROMPT).status_code == 200, "none of it was paid for"
    wait_until(lambda: Metrics(process.url).sum("whispergpt_upload_bytes") == 0, "all is given back")


def test_resuming_is_paid_for(keys: tuple[ServerProcess, Keys]) -> None:
    process, made = keys
    with session(process, made["five"]) as socket:
        socket.commit(GOOD_PROMPT)
        socket.create(60)
        told = until(socket, "response.checkpoint", least_frame=75)
        for _ in range(25):  # none of these plays a second
            socket.event("response.cancel")
            until(socket, "response.done")
            socket.event("response.create", response={"resume_token": told["resume_token"]})
            if (answer := until(socket, "response.created", "error"))["type"] == "error":
                break
        assert answer["type"] == "error" and answer["error"]["code"] == "key_audio"


def until(socket: LiveSocket, *types: str, least_frame: int = 0) -> dict[str, Any]:
    """Return the next event of these types; a checkpoint counts from a frame on."""
    while True:
        message = socket.receive(checkpoints=True)
        if isinstance(message, dict) and message["type"] in types and message.get("frame", least_frame) >= least_frame:
            return message


def test_what_an_address_plays_is_counted_until_the_engine_has_it(keys: tuple[ServerProcess, Keys]) -> None:
    process, made = keys
    form, bearer = {"seconds": "30", "response_format": "pcm"}, {"Authorization": f"Bearer {made['other']}"}
    address = HTTP.post(f"{process.url}/v1/play", data=form, files={"audio": GOOD_PROMPT}, headers=bearer)
    assert Metrics(process.url).sum("whispergpt_upload_bytes") > 0
    with HTTP.stream("GET", process.url + address.json()["url"]) as playing:
        parts = playing.iter_bytes()
        assert next(parts)
        wait_until(lambda: Metrics(process.url).sum("whispergpt_upload_bytes") == 0, "none of it is counted any more")
        assert next(parts), "it still plays"
    wait_for_idle(process.url)


def test_what_the_server_failed_to_encode_costs_nothing(keys: tuple[ServerProcess, Keys]) -> None:
    process, made = keys
    (engine,) = process.engine_pids()
    os.kill(engine, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        lost = threads.submit(post, process, made["unlucky"], unknown(3, 9.9))
        wait_until(lambda: Metrics(process.url).sum("whispergpt_streams_slack") < 2, "its prompt is on its way")
        os.kill(engine, signal.SIGKILL)
        assert lost.result().status_code == 503
    wait_until(lambda: HTTP.get(f"{process.url}/health/ready").status_code == 200, "there is another engine", 60)
    assert post(process, made["unlucky"], GOOD_PROMPT).status_code == 200
