"""``POST /continue`` refuses what it cannot use, says why, and goes on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest
from whispergpt_client import Client, WhisperGPTError

from tests.support.audio import SAMPLE_RATE, SPEECH, encode, samples_of, silence, speech
from tests.support.faults import GOOD_PROMPT, check_error
from tests.support.http import HTTP

pytestmark = pytest.mark.usefixtures("recovers")


def post(url: str, **request: Any) -> httpx.Response:
    return HTTP.post(f"{url}/continue", **request)


def check(answer: httpx.Response, status: int, param: str | None, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    check_error(error, *words)
    assert error["param"] == param


def with_a_sample(value: float) -> bytes:
    samples = speech(1.0)
    samples[12_345] = value
    return encode(samples, subtype="FLOAT")


def hour_of_wav() -> bytes:
    return encode(np.zeros(3600 * 8_000, np.int16), 8_000, subtype="PCM_U8")


FILES: dict[str, tuple[Callable[[], bytes], int, tuple[str, ...]]] = {
    "empty file": (lambda: b"", 415, ("empty", "flac")),
    "text file": (lambda: b"Once upon a time there was a file without sound.\n" * 40, 415, ("not audio", "wav", "m4a")),
    "picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(4000), 415, ("audio", "webm")),
    "truncated FLAC": (lambda: SPEECH.read_bytes()[:30_000], 422, ("FLAC", "cut short")),
    "half a wav": (
        lambda: encode(speech(2.0))[:48_000],
        422,
        ("wav", "ends early", "96,000 bytes", "47,956 are there"),
    ),
    "half an aiff": (lambda: encode(speech(2.0), format="AIFF")[:48_000], 422, ("aiff", "ends early")),
    "wav without samples": (lambda: encode(silence(0)), 415, ("empty", "no samples")),
    "0.1 s": (lambda: encode(speech(0.1)), 422, ("0.10 s", "0.5")),
    "a sample less than 0.5 s": (lambda: encode(speech(0.5)[1:]), 422, ("0.49 s", "0.5 s")),
    "an hour of FLAC": (lambda: encode(silence(3600, 8_000), 8_000, "FLAC"), 413, ("60 s",)),
    "an hour of wav": (hour_of_wav, 413, ("60 s",)),
    "60.05 s of wav": (lambda: encode(silence(60.05)), 413, ("60 s",)),
    "61 s": (lambda: encode(silence(61, 8_000), 8_000), 413, ("60 s",)),
    "NaN": (partial(with_a_sample, np.nan), 422, ("NaN",)),
    "Inf": (partial(with_a_sample, np.inf), 422, ("infinite",)),
    "-Inf": (partial(with_a_sample, -np.inf), 422, ("infinite",)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_continued(server: str, name: str) -> None:
    make, status, words = FILES[name]
    check(post(server, files={"audio": ("prompt", make())}), status, "audio", *words)


WRONG_NUMBERS = {
    "seconds": ["-1", "0", "600.1", "1e300", "inf", "nan", "five"],
    "seed": ["-1", str(2**53), "9" * 40, "1.5", "inf", "seven"],
    "temperature": ["-0.1", "2.1", "1e300", "inf", "nan", "warm"],
    "top_k": ["-1", "1025", "9" * 40, "1.5", "nan", "many"],
    "top_p": ["-0.1", "0", "1.01", "1e300", "inf", "nan", "most"],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in WRONG_NUMBERS for value in WRONG_NUMBERS[field]]
)
def test_a_number_that_cannot_be(server: str, field: str, value: str) -> None:
    check(post(server, data={field: value}, files={"audio": GOOD_PROMPT}), 400, field, field)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("model", "no-such-model", ("no-such-model",)),
        ("model", "../../etc", ("../../etc",)),
        ("include_prompt", "perhaps", ("include_prompt",)),
        ("stream", "perhaps", ("stream",)),
        ("response_format", "gif", ("gif", "wav")),
        ("tempo", "1", ("tempo",)),
    ],
)
def test_a_field_that_is_wrong_or_unknown(server: str, field: str, value: str, words: tuple[str, ...]) -> None:
    check(post(server, data={field: value}, files={"audio": GOOD_PROMPT}), 400, field, *words)


BAD_REQUESTS: dict[str, dict[str, Any]] = {
    "no audio": {"data": {"seconds": "1"}, "files": {"other": b"x"}},
    "audio as text": {"data": {"audio": "hello"}, "files": {"seconds": (None, "1")}},
    "a form without a file": {"data": {"seconds": "1"}},
    "JSON": {"json": {"seconds": 1}},
    "nothing": {},
    "the audio as the whole body": {"content": GOOD_PROMPT, "headers": {"content-type": "audio/wav"}},
    "multipart without a boundary": {"content": GOOD_PROMPT, "headers": {"content-type": "multipart/form-data"}},
    "text in a coding that is none": {
        "content": b"--line\r\n\r\n--line--",
        "headers": {"content-type": "multipart/form-data; boundary=line; charset=undefined"},
    },
    "a type that its parser takes long for": {
        "content": b"--X\r\n\r\n",
        "headers": {"content-type": "multipart/form-data" + ";" * 60_000},
    },
    "a part whose header its parser takes long for": {
        "content": b'--line\r\nContent-Disposition: form-data; name="audio"'
        + b";" * 2_000
        + b"\r\n\r\n\r\n--line--\r\n",
        "headers": {"content-type": "multipart/form-data; boundary=line"},
    },
    "multipart that is none": {
        "content": GOOD_PROMPT,
        "headers": {"content-type": "multipart/form-data; boundary=line"},
    },
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_request_of_the_wrong_shape(server: str, name: str) -> None:
    answer = post(server, **BAD_REQUESTS[name])
    assert answer.status_code == 400, answer.text
    check_error(answer.json()["error"])


@pytest.mark.parametrize("content", [b"hello", GOOD_PROMPT], ids=["short", "long"])
def test_audio_without_a_file_name(server: str, content: bytes) -> None:
    """As ``curl -F 'audio=<prompt.wav'`` sends it."""
    head = b'--line\r\nContent-Disposition: form-data; name="audio"\r\n\r\n'
    headers = {"content-type": "multipart/form-data; boundary=line"}
    answer = post(server, content=head + content + b"\r\n--line--\r\n", headers=headers)
    check(answer, 400, "audio", "must be a file", "no file name")
    assert answer.json()["error"]["code"] == "not_a_file"


@pytest.mark.parametrize(
    ("disposition", "status"),
    [
        (b"form-data; name=\"audio\"; filename*=UTF-8''d%C3%A9j%C3%A0.wav", 200),
        (b'form-data; name="audio"; filename="a.wav"; filename*=UTF-8\'\'b.wav', 200),
        (b"form-data; name=audio; FILENAME*0*=UTF-8''long; filename*1=er.wav", 200),
        (b'form-data; name="audio"; x="; filename*=no"', 400),
    ],
)
def test_a_file_name_in_the_extended_form(server: str, disposition: bytes, status: int) -> None:
    head = b"--line\r\nContent-Disposition: " + disposition + b"\r\n\r\n"
    fields = b'\r\n--line\r\nContent-Disposition: form-data; name="seconds"\r\n\r\n0.04\r\n--line--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=line"}
    answer = post(server, content=head + GOOD_PROMPT + fields, headers=headers)
    assert answer.status_code == status, answer.text


def test_fields_that_are_left_empty_are_left_out(server: str) -> None:
    """As a form of HTML sends them."""
    empty = dict.fromkeys(
        ["seed", "temperature", "top_k", "top_p", "model", "include_prompt", "response_format", "stream"], ""
    )
    answer = post(server, data={**empty, "seconds": "0.04"}, files={"audio": GOOD_PROMPT})
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
    assert answer.headers["x-seed"].isdigit()
    answer = post(server, data={"seconds": " ", "top_k": "1"}, files={"audio": GOOD_PROMPT})
    assert len(samples_of(answer.content)) == 5 * SAMPLE_RATE, "five seconds unless others are asked for"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("WAV", "audio/wav"), ("Flac", "audio/flac"), ("ogg", "audio/ogg"), (" OGG", "audio/ogg"), ("Opus", "audio/ogg")],
)
def test_names_of_formats_in_any_case(server: str, name: str, media_type: str) -> None:
    answer = post(server, data={"response_format": name, "seconds": "0.04"}, files={"audio": GOOD_PROMPT})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)


def test_a_body_that_grows_beyond_all_bounds(server: str) -> None:
    def endless() -> Any:
        yield b'--line\r\nContent-Disposition: form-data; name="audio"; filename="x"\r\n\r\n'
        for _ in range(4096):
            yield bytes(64 * 1024)

    headers = {"content-type": "multipart/form-data; boundary=line"}
    try:
        answer = post(server, content=endless(), headers=headers)
    except httpx.TransportError:
        return  # the server may close the connection rather than read 256 MiB; it must go on all the same
    assert answer.status_code == 413, answer.text
    check_error(answer.json()["error"])


def test_the_client_raises_what_the_server_said(client: Client) -> None:
    with pytest.raises(WhisperGPTError, match=r"0\.5") as refused:
        client.continue_file(encode(speech(0.1), SAMPLE_RATE))
    error = refused.value
    assert (error.status, error.code, error.param) == (422, "too_short", "audio")
    with pytest.raises(WhisperGPTError, match="temperature") as refused:
        client.continue_file(GOOD_PROMPT, temperature=7)
    assert (refused.value.status, refused.value.param) == (400, "temperature")
    with pytest.raises(WhisperGPTError, match="no-such-model"):
        list(client.stream(GOOD_PROMPT, model="no-such-model"))
    with pytest.raises(WhisperGPTError, match="not audio"):
        list(client.stream(b"text " * 1000))
    with pytest.raises(FileNotFoundError):
        client.continue_file("no/such/file.wav")


FORM = "multipart/form-data; boundary=a"


@pytest.mark.parametrize(
    ("headers", "param", "words"),
    [
        ({"Content-Type": "audio/flac"}, "audio", ("`curl -F audio=@FILE`",)),
        ({"Content-Type": "application/json"}, "audio", ("multipart/form-data",)),
        ({}, "audio", ("multipart/form-data",)),
        ({"Content-Type": "multipart/form-data"}, None, ("boundary", "let the HTTP library write the Content-Type")),
        ({"Content-Type": FORM}, None, ("let the HTTP library write the Content-Type",)),
        ({"Content-Type": FORM, "Content-Encoding": "gzip"}, None, ("must not be compressed", "Content-Encoding")),
    ],
)
def test_a_body_that_is_no_form(
    server: str, headers: dict[str, str], param: str | None, words: tuple[str, ...]
) -> None:
    check(post(server, content=GOOD_PROMPT, headers=headers), 400, param, *words)
