"""The HTTP interface as its schema describes it: the schema, its examples, and the page that tries each call."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Route, expect

from tests.support.audio import HOP, SPEECH, encode, samples_of, speech
from tests.support.browsers import browser_of
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.tools import require_tool
from tests.support.waiting import wait_until
from whispergpt.server.http.call_examples import ORIGIN

# Bytes made up for audio are refused with 415 or 422.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 404, 415, 422]
"""
SECOND = encode(speech(0.6))


@pytest.fixture(scope="module")
def described(server: str) -> dict[str, Any]:
    return HTTP.get(f"{server}/openapi.json").json()


def test_schemathesis_finds_nothing(server: str, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "--config-file", "schemathesis.toml", "run", f"{server}/openapi.json"]
    command += ["--generation-deterministic", "--max-examples", "20"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "10 passed" in done.stdout, done.stdout[-6000:] + done.stderr[-2000:]


def test_answers_with_audio_are_as_the_schema_says(server: str) -> None:
    import schemathesis  # here, because it takes a second, and each process of tests imports this module

    api = schemathesis.openapi.from_url(f"{server}/openapi.json")
    sent: dict[str, Any] = {"files": {"audio": ("audio", SECOND)}, "data": {"seconds": "0.1", "response_format": "mp3"}}
    played = requests.post(f"{server}/v1/play", **sent, timeout=60)
    address = server + played.json()["url"]
    for call, answer in {
        ("/continue", "POST"): requests.post(f"{server}/continue", **sent, timeout=60),
        ("/v1/play", "POST"): played,
        ("/v1/play", "GET"): requests.get(address, headers={"Range": "bytes=0-1"}, timeout=60),
    }.items():
        assert answer.status_code in (200, 201, 206)
        api[call[0]][call[1]].validate_response(answer)
    api["/v1/play"]["GET"].validate_response(requests.get(address, timeout=60))
    with shared(server) as token:
        for path in ("", "/audio"):
            answer = requests.get(f"{server}/v1/streams/{token}{path}", timeout=60)
            assert answer.status_code == 200
            api["/v1/streams/{token}" + path]["GET"].validate_response(answer)


@contextmanager
def shared(server: str) -> Iterator[str]:
    """A token of a stream that pauses, and takes no time from others, until somebody listens; then it is cancelled."""
    with LiveSocket(server) as session, ThreadPoolExecutor(1) as threads:
        session.commit(SECOND)
        session.event("response.create", response={"seconds": None, "feed": True})
        session.expect("response.created")
        token = session.expect("response.feed.created")["token"]
        session.event("response.pause")
        unused = Event()

        def end() -> None:
            address = f"{server}/v1/streams/{token}"
            wait_until(lambda: unused.is_set() or HTTP.get(address).json()["listeners"], "somebody listens")
            session.event("response.cancel")

        ending = threads.submit(end)
        yield token
        unused.set()
        ending.result()


def test_the_schema_names_what_it_has(server: str, described: dict[str, Any]) -> None:
    assert "securitySchemes" not in described["components"], "this server asks for no key"
    assert {"ContinueForm", "ErrorEnvelope", "Error", "Model", "ModelList", "SocketToken"} <= set(
        described["components"]["schemas"]
    )
    models = [model["id"] for model in HTTP.get(f"{server}/v1/models").json()["data"]]
    assert described["components"]["schemas"]["ContinueForm"]["properties"]["model"]["enum"] == models
    assert "input_audio_buffer.commit" in described["info"]["description"]
    for methods in described["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    error = answer["content"]["application/json"]["example"]["error"]
                    assert error["message"].endswith(".") and error.keys() == {"type", "code", "message", "param"}
    listed = described["paths"]["/continue"]["post"]["responses"]["200"]["content"]
    assert all(kind["schema"]["format"] == "binary" for kind in listed.values())


def test_the_examples_run(server: str, described: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "prompt.wav").write_bytes(SECOND)
    operations = [operation for methods in described["paths"].values() for operation in methods.values()]
    examples = [{each["label"]: each["source"] for each in operation["x-codeSamples"]} for operation in operations]

    def sources(label: str, token: str) -> list[str]:
        return [_short(each[label], server, token) for each in examples]

    def curl(token: str) -> list[str]:
        each = (f"{source} || exit 1\nmv continuation.wav curl.wav 2>&-\n" for source in sources("curl", token))
        return ["sh", "-c", "".join(each) + "exit 0"]

    def python(token: str) -> list[str]:
        text = "\n".join(sources("Python", token)).replace("continuation.wav", "python.wav")
        (tmp_path / "all.py").write_text(text)
        return [sys.executable, "all.py"]

    def node(token: str) -> list[str]:
        for number, source in enumerate(sources("JavaScript", token)):
            (tmp_path / f"{number}.mjs").write_text(source.replace("continuation.wav", "node.wav"))
        imports = (f'await import("./{number}.mjs");\n' for number in range(len(examples)))
        (tmp_path / "all.mjs").write_text("".join(imports))
        return [require_tool("node"), "all.mjs"]

    for command_of in (curl, python, node):
        with shared(server) as token:
            command = command_of(token)
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        assert command_of is curl or not done.stderr, done.stderr  # curl shows its progress there
    for name in ("curl", "python", "node"):
        assert len(samples_of((tmp_path / f"{name}.wav").read_bytes())) == 15 * HOP


def _short(source: str, server: str, feed_token: str) -> str:
    """Return an example for this server, with a fifth of a second of audio and a real token."""
    source = source.replace("streams/TOKEN", f"streams/{feed_token}")
    if "TOKEN" in source:
        form = {"seconds": "0.2", "response_format": "mp3"}
        made = HTTP.post(f"{server}/v1/play", files={"audio": SECOND}, data=form).json()
        source = source.replace("TOKEN", made["url"].partition("token=")[2])
    return source.replace(ORIGIN, server).replace("seconds=5", "seconds=0.2").replace('"5"', '"0.2"')


def test_a_call_can_be_tried_without_any_other_host(server: str) -> None:
    wrong: list[str] = []

    def only_here(route: Route) -> None:
        if urlsplit(route.request.url).netloc != urlsplit(server).netloc:
            wrong.append(route.request.url)
        route.continue_()

    with browser_of("chromium") as browser:
        page = browser.new_page()
        page.route(lambda url: url.startswith("http"), only_here)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(f"{server}/docs")
        call = page.locator("#operations-continuations-continue_recording")
        call.locator("button.opblock-summary-control").click()
        call.get_by_text("Example in JavaScript").click()
        expect(call.get_by_text(f'fetch("{server}/continue"')).to_be_visible()
        call.get_by_role("button", name="Try it out").click()
        call.locator("input[type=file]").set_input_files(SPEECH)
        call.locator("tr", has_text="How much to generate").locator("input[type=text]").fill("0.4")
        call.get_by_role("button", name="Execute").click()
        heard = call.locator("audio")
        expect(heard).to_be_visible(timeout=20_000)
        page.wait_for_function("() => document.querySelector('audio').readyState > 0")
        assert heard.evaluate("audio => audio.duration") == pytest.approx(0.4)
    assert not wrong, wrong
