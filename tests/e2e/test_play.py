"""Addresses that play once: for whatever can open an address and no more."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

import httpx
import pytest

from tests.support.audio import HOP, SAMPLE_RATE, SPEECH, encode, speech
from tests.support.http import HTTP
from tests.support.metrics import wait_for_idle
from whispergpt.engine.audio.audio_file import read_audio
from whispergpt.server.access.caller import Caller
from whispergpt.server.admission.admission import Admission, UploadMeter
from whispergpt.server.audio.encoders import MEDIA_TYPES
from whispergpt.server.errors import ApiError
from whispergpt.server.http.play_addresses import HeldContinuation, PlayAddresses
from whispergpt.server.http.upload import ContinueForm
from whispergpt.server.settings import Settings


def address(server: str, **data: str) -> httpx.Response:
    return HTTP.post(f"{server}/v1/play", data=data, files={"audio": SPEECH.read_bytes()})


@pytest.mark.alone  # a second is little for the first audio of a busy machine
def test_an_address_plays_once_at_a_listeners_pace(server: str) -> None:
    made = address(server, seconds="5", response_format="mp3", seed="4")
    assert made.status_code == 201 and 0 < made.json()["expires_in"] <= 60
    url = server + made.json()["url"]
    began, first, body = time.monotonic(), None, b""
    with HTTP.stream("GET", url, headers={"Range": "bytes=0-"}) as answer:  # as browsers ask
        assert answer.status_code == 200 and answer.headers["content-type"] == "audio/mpeg"
        assert answer.headers["x-seed"] == "4"
        for part in answer.iter_raw():
            first = first or time.monotonic() - began
            body += part
    assert first is not None and first < 1 and time.monotonic() - began > 2, "two seconds ahead at most"
    assert len(read_audio(body)) >= 5 * SAMPLE_RATE
    again = HTTP.get(url)
    assert again.status_code == 404 and again.json()["error"]["code"] == "wrong_token"
    wait_for_idle(server)


def test_the_same_sound_as_continue(server: str) -> None:
    played = HTTP.get(server + address(server, seconds="1", response_format="pcm", seed="4").json()["url"]).content
    asked = {"seconds": "1", "response_format": "pcm", "seed": "4"}
    whole = HTTP.post(f"{server}/continue", data=asked, files={"audio": SPEECH.read_bytes()}).content
    assert played == whole and len(whole) == 75 * 2 * HOP


@pytest.mark.parametrize(
    ("data", "audio", "status", "param"),
    [
        ({"seconds": "0"}, None, 400, "seconds"),
        ({"model": "none"}, None, 400, "model"),
        ({}, b"no audio", 415, "audio"),
        ({}, encode(speech(0.2)), 422, "audio"),
    ],
)
def test_what_is_wrong_is_said_before_there_is_an_address(
    server: str, data: dict[str, str], audio: bytes | None, status: int, param: str
) -> None:
    refused = HTTP.post(f"{server}/v1/play", data=data, files={"audio": audio or SPEECH.read_bytes()})
    assert refused.status_code == status and refused.json()["error"]["param"] == param


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "opus"])
def test_an_address_survives_a_look(server: str, name: str) -> None:
    """As Safari looks before it plays."""
    url = server + address(server, seconds="0.2", response_format=name, seed="4").json()["url"]
    for _ in range(2):
        head = HTTP.head(url)
        assert (head.status_code, head.headers["content-type"]) == (200, MEDIA_TYPES[name])  # type: ignore[index]
        probe = HTTP.get(url, headers={"Range": "bytes=0-1"})
        assert (probe.status_code, probe.headers["content-range"], len(probe.content)) == (206, "bytes 0-1/*", 2)
        assert probe.headers["content-type"] == head.headers["content-type"]
        assert HTTP.get(url, headers={"Range": "bytes=0-0"}).content == probe.content[:1]
    whole = HTTP.get(url, headers={"Range": "bytes=0-"})
    assert whole.status_code == 200 and whole.content[:2] == probe.content
    for answer in (HTTP.get(url, headers={"Range": "bytes=0-1"}), HTTP.head(url)):
        assert answer.status_code == 404, "it was played"


def test_the_first_bytes_of_pcm_are_not_known(server: str) -> None:
    url = server + address(server, seconds="0.2", response_format="pcm").json()["url"]
    probe = HTTP.get(url, headers={"Range": "bytes=0-1"})
    assert probe.status_code == 416 and probe.json()["error"]["code"] == "no_range"
    assert HTTP.get(url).status_code == 200


def test_an_address_of_no_token(server: str) -> None:
    for query in ("", "?token=", "?token=none"):
        answer = HTTP.get(f"{server}/v1/play{query}")
        message = answer.json()["error"]["message"]
        assert answer.status_code == 404 and "too old" in message and "POST /v1/play makes another" in message


def test_addresses_end_and_give_their_memory_back() -> None:
    async def ended() -> None:
        settings = Settings()
        admission, addresses = Admission(settings), PlayAddresses(0.05, most=2)

        async def hold() -> str:
            meter, cleanup = UploadMeter(admission, settings, Caller()), ExitStack()
            meter.add(1000)
            cleanup.callback(meter.release)
            try:
                form = ContinueForm(75, "")
                return await addresses.hold(HeldContinuation(form, Caller(), b"", meter, cleanup))
            except ApiError:
                cleanup.close()
                raise

        first = await hold()
        await hold()
        with pytest.raises(ApiError, match="2 addresses wait"):
            await hold()
        (await addresses.take(first)).cleanup.close()
        assert admission.upload_bytes == 1000
        await asyncio.sleep(0.1)
        assert admission.upload_bytes == 0
        with pytest.raises(ApiError, match="too old"):
            await addresses.take(first)
        await hold()

    asyncio.run(ended())
