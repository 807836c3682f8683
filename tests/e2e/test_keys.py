"""A server that asks for keys: who comes in, by which door, and how much each may have."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol
from whispergpt_client import AsyncClient, Client, WhisperGPTError

from tests.support.audio import SPEECH, pcm_of, samples_of, speech
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.realtime import expect
from tests.support.waiting import wait_until
from tests.unit.test_docs import ROOT, blocks
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.server.access.api_keys import add_key

Keys = dict[str, str]
METRICS_TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Keys]:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    bounds = {
        "free": (None, None),
        "single": (1, None),
        "greedy": (1, None),
        "frugal": (None, 6.0),
        "going": (None, 16.0),
        "fleeting": (None, None),
    }
    return file, {name: add_key(file, name, *bound) for name, bound in bounds.items()}


@pytest.fixture(scope="module")
def metrics_token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a token for ``/metrics``."""
    file = tmp_path_factory.mktemp("metrics") / "token"
    file.write_text(f"{METRICS_TOKEN}\n")
    return file


@pytest.fixture(scope="module")
def process(keys: tuple[Path, Keys], metrics_token: Path) -> Iterator[ServerProcess]:
    environment = {"WHISPERGPT_METRICS_TOKEN_FILE": str(metrics_token)}
    with ServerProcess("--keys", str(keys[0]), environment=environment) as process:
        yield process
        assert not [name for name, key in keys[1].items() if key in process.log()], "a key is in the log"


@pytest.fixture
def url(process: ServerProcess) -> str:
    return process.url


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_doors_without_and_with_a_key(url: str, keys: tuple[Path, Keys]) -> None:
    for path in ("/", "/docs", "/health/live", "/health/ready"):
        assert HTTP.get(url + path).status_code == 200
    for path in ("/v1/models", "/metrics"):
        assert HTTP.get(url + path).status_code == 401
        assert HTTP.get(url + path, headers=bearer(keys[1]["free"])).status_code == 200
    schema = HTTP.get(f"{url}/openapi.json").json()
    assert schema["components"]["securitySchemes"]["Bearer"]["scheme"] == "bearer"
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            asked = HTTP.request(method, url + path).status_code == 401
            assert asked is (operation["security"] == [{"Bearer": []}]), path
            assert all(("Bearer KEY" in each["source"]) is asked for each in operation["x-codeSamples"]), path
    refused = HTTP.post(f"{url}/continue", files={"audio": SPEECH.read_bytes()}, headers=bearer("wgpt_wrong"))
    assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "wrong_key") and "Bearer KEY" in error["message"]
    for answer in (refused, HTTP.get(url)):
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"


def test_the_clients_bring_their_key(url: str, keys: tuple[Path, Keys], monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(url, api_key=keys[1]["free"]) as client:
        assert len(samples_of(client.continue_file(SPEECH, seconds=0.2).audio)) == 15 * 320
        assert len(b"".join(client.stream(SPEECH, seconds=0.2))) == 15 * 640
    with Client(url) as nobody, pytest.raises(WhisperGPTError, match="asks for a key; .* WHISPERGPT_API_KEY names it"):
        b"".join(nobody.stream(SPEECH, seconds=0.2))
    monkeypatch.setenv("WHISPERGPT_API_KEY", keys[1]["free"])
    with Client(url) as client:
        assert client.models()


async def test_the_asynchronous_client_does_too(url: str, keys: tuple[Path, Keys]) -> None:
    async with AsyncClient(url, api_key=keys[1]["free"]) as client:
        assert await client.models()
        assert sum([len(part) async for part in client.stream(SPEECH, seconds=0.2)]) == 15 * 640


def test_a_page_opens_one_socket_with_a_token(url: str, keys: tuple[Path, Keys]) -> None:
    made = HTTP.post(f"{url}/v1/tokens", headers=bearer(keys[1]["free"])).json()
    assert made["expires_in"] == 60
    with LiveSocket(url, f"?token={made['token']}", {"Origin": url}) as socket:
        socket.update(seed=1)
    for query, code in ((f"?token={made['token']}", "wrong_token"), ("", "no_key")):
        with LiveSocket(url, query, refused=True) as socket:
            assert socket.expect_error()["code"] == code
            assert socket.expect_close() == 1008
    with LiveSocket(url, "", {**bearer(keys[1]["free"]), "Origin": "https://evil.example"}, refused=True) as socket:
        assert socket.expect_error()["code"] == "wrong_origin"
        assert socket.expect_close() == 1008
    assert HTTP.post(f"{url}/v1/tokens").status_code == 401


async def test_a_client_of_openai_brings_a_key_or_a_token(url: str, keys: tuple[Path, Keys]) -> None:
    def token() -> str:
        return str(HTTP.post(f"{url}/v1/tokens", headers=bearer(keys[1]["free"])).json()["token"])

    used = token()
    for secret, welcome in ((keys[1]["free"], True), (used, True), (used, False), ("sk-wrong", False)):
        client = AsyncOpenAI(base_url=f"{url}/v1", api_key=secret)
        async with client.realtime.connect(model="speech") as connection:
            if welcome:
                await expect(connection, "session.created")
                continue
            error = (await expect(connection, "error")).error
            assert (error.type, error.code) == ("authentication_error", "wrong_key")
            with pytest.raises(ConnectionClosed, match="1008"):
                await connection.recv()
    address = url.replace("http", "ws", 1) + "/v1/realtime"
    for secret, answer in ((keys[1]["free"], "session.created"), (token(), "session.created"), ("wgpt_no", "error")):
        offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{secret}")]  # as in a browser
        async with connect(address, subprotocols=offered, origin=Origin(url)) as socket:
            assert socket.subprotocol == "realtime"
            assert json.loads(await socket.recv())["type"] == answer


def test_one_stream_too_many(url: str, keys: tuple[Path, Keys]) -> None:
    key = keys[1]["single"]
    with LiveSocket(url, headers=bearer(key)) as first:
        first.update(input={"format": "pcm_s16le", "sample_rate": 24_000})
        first.commit(pcm_of(speech(1.0)))
        first.create(None)
        refused = HTTP.post(f"{url}/continue", files={"audio": SPEECH.read_bytes()}, headers=bearer(key))
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "key_streams"
        other = HTTP.post(
            f"{url}/continue",
            files={"audio": SPEECH.read_bytes()},
            data={"seconds": 0.2},
            headers=bearer(keys[1]["free"]),
        )
        assert other.status_code == 200, "others are not concerned"

    def served() -> bool:
        form = {"files": {"audio": SPEECH.read_bytes()}, "data": {"seconds": "0.2"}}
        return HTTP.post(f"{url}/continue", **form, headers=bearer(key)).status_code == 200  # type: ignore[arg-type]

    wait_until(served, "the first is gone, and so is its place")


def test_a_key_takes_no_more_than_its_share_of_the_doors(url: str, keys: tuple[Path, Keys]) -> None:
    """Sessions, requests and addresses count together, and each gives its place back."""
    key = bearer(keys[1]["greedy"])
    form = {"data": {"seconds": "0.2", "response_format": "pcm"}, "files": {"audio": SPEECH.read_bytes()}}
    made = HTTP.post(f"{url}/v1/play", **form, headers=key)  # type: ignore[arg-type]
    with ExitStack() as sessions:
        for _ in range(3):
            sessions.enter_context(LiveSocket(url, headers=key))
        with LiveSocket(url, headers=key, refused=True) as socket:
            error = socket.expect_error()
            assert error["code"] == "key_connections" and "1 stream" in error["message"]
            assert socket.expect_close() == 1013
        refused = HTTP.post(f"{url}/continue", **form, headers=key)  # type: ignore[arg-type]
        assert refused.status_code == 429 and refused.json()["error"]["code"] == "key_connections"
        assert HTTP.post(f"{url}/v1/play", **form, headers=key).status_code == 429  # type: ignore[arg-type]
        with LiveSocket(url, headers=bearer(keys[1]["free"])) as socket:
            socket.update(seed=1)  # others are not concerned
        assert len(HTTP.get(url + made.json()["url"]).content) == 15 * 640

    def served() -> bool:
        return HTTP.post(f"{url}/continue", **form, headers=key).status_code == 200  # type: ignore[arg-type]

    wait_until(served, "all its places are free again")


def test_audio_beyond_the_allowance(url: str, keys: tuple[Path, Keys]) -> None:
    def ask(seconds: float) -> tuple[int, dict[str, str]]:
        answer = HTTP.post(
            f"{url}/continue",
            files={"audio": SPEECH.read_bytes()},
            data={"seconds": seconds},
            headers=bearer(keys[1]["frugal"]),
        )
        return answer.status_code, dict(answer.headers)

    began = time.monotonic()
    assert ask(20)[0] == 200
    refused, headers = ask(1)
    # With the prompt's four, 24 seconds were counted of 6; a tenth of a second is given back each second.
    assert refused == 429 and 178 - (time.monotonic() - began) <= int(headers["retry-after"]) <= 182
    with LiveSocket(url, headers=bearer(keys[1]["going"])) as socket:
        socket.commit(SPEECH.read_bytes())
        socket.update(pace="fast")
        socket.create(None)
        heard = 0
        while isinstance(message := socket.receive(), bytes):
            heard += len(message) // 640
        assert 20 * 75 <= heard < 20 * 75 + 6, "twice ten seconds were paid for"
        assert socket.expect("response.done")["response"]["status"] == "failed"
        assert socket.expect_error()["code"] == "key_audio"
        assert socket.expect_close() == 1013


def test_a_key_taken_out_is_out_at_once(url: str, keys: tuple[Path, Keys]) -> None:
    file, secrets = keys
    assert HTTP.get(f"{url}/v1/models", headers=bearer(secrets["fleeting"])).status_code == 200
    blocks = file.read_text().split("\n\n")
    with LiveSocket(url, headers=bearer(secrets["fleeting"])) as open_before:
        open_before.commit(SPEECH.read_bytes())
        open_before.create(2.0)
        file.write_text("\n\n".join(block for block in blocks if "fleeting" not in block))
        assert open_before.read_response()[1]["status"] == "completed", "what plays plays on"
        open_before.event("response.create", response={"seconds": 1})
        assert open_before.expect_error()["code"] == "wrong_key"
        assert open_before.expect_close() == 1008
    assert HTTP.get(f"{url}/v1/models", headers=bearer(secrets["fleeting"])).status_code == 401
    assert HTTP.get(f"{url}/v1/models", headers=bearer(secrets["free"])).status_code == 200


def test_metrics_have_a_token_of_their_own(url: str, keys: tuple[Path, Keys], metrics_token: Path) -> None:
    check_metrics_token(url, metrics_token)
    assert status(url, "/v1/models", METRICS_TOKEN) == 401
    assert status(url, "/metrics", keys[1]["free"]) == 200


def test_an_open_server_asks_for_the_token_of_metrics(metrics_token: Path) -> None:
    with ServerProcess("--open", environment={"WHISPERGPT_METRICS_TOKEN_FILE": str(metrics_token)}) as process:
        check_metrics_token(process.url, metrics_token)


def status(url: str, path: str, key: str) -> int:
    return HTTP.get(f"{url}{path}", headers=bearer(key) if key else None).status_code


def check_metrics_token(url: str, file: Path) -> None:
    """The token opens the page and nothing else does; another that the file has by now opens it, none without one."""
    assert [status(url, "/metrics", key) for key in ("", "another-of-some-length", METRICS_TOKEN)] == [401, 401, 200]
    file.write_text("rotated-and-long-enough")
    assert [status(url, "/metrics", key) for key in (METRICS_TOKEN, "rotated-and-long-enough")] == [401, 200]
    file.write_text("")
    assert status(url, "/metrics", "rotated-and-long-enough") == 401
    file.write_text(METRICS_TOKEN)


def test_a_file_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    for file, told in ((tmp_path / "none.toml", "No such file"), (tmp_path, "directory")):
        with pytest.raises(RuntimeError, match=told) as ended:
            ServerProcess("--keys", str(file))
        assert "Traceback" not in str(ended.value)


def test_an_address_is_made_with_a_key_and_played_without(url: str, keys: tuple[Path, Keys]) -> None:
    form = {"data": {"seconds": "1", "response_format": "pcm"}, "files": {"audio": SPEECH.read_bytes()}}
    assert HTTP.post(f"{url}/v1/play", **form).status_code == 401  # type: ignore[arg-type]
    made = HTTP.post(f"{url}/v1/play", **form, headers=bearer(keys[1]["free"]))  # type: ignore[arg-type]
    assert len(HTTP.get(url + made.json()["url"]).content) == 2 * 24_000


def test_the_readmes_example_says_in_a_sentence_that_a_key_is_missing(url: str, tmp_path: Path) -> None:
    code = next(blocks(ROOT / "README.md", "python")).replace("127.0.0.1:8000", url.removeprefix("http://"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("This server asks for a key") and done.stderr.count("\n") == 1
