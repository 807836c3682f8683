"""What the Python client takes for a prompt, where it writes, and what it says of a proxy that does not answer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from whispergpt_client import Client, WhisperGPTError
from whispergpt_client.cli import main
from whispergpt_client.continuation import Continuation
from whispergpt_client.prompt import chunks
from whispergpt_client.request import read_file

from tests.support.ports import free_port

AUDIO = bytes(range(256)) * 200


def test_every_form_of_a_file_is_the_same_prompt(tmp_path: Path) -> None:
    path = tmp_path / "prompt.wav"
    path.write_bytes(AUDIO)
    forms: list[Any] = [path, str(path), AUDIO, bytearray(AUDIO), memoryview(AUDIO)]
    for form in [*forms, io.BytesIO(AUDIO), path.open("rb")]:
        assert read_file(form)[1] == AUDIO
    for form in [*forms, io.BytesIO(AUDIO), path.open("rb"), iter([AUDIO[:100], memoryview(AUDIO)[100:]])]:
        assert b"".join(chunks(form)) == AUDIO
    for take in (read_file, lambda text: list(chunks(text))):
        with path.open(encoding="latin-1") as text, pytest.raises(ValueError, match="in binary mode"):
            take(text)


@pytest.mark.parametrize(
    ("media_type", "good", "bad", "told"),
    [
        ("audio/wav", "a.WAV", "a.mp3", "a.mp3 does not end in .wav"),
        ("audio/ogg", "a.opus", "a", "a does not end in one of .opus, .ogg"),
    ],
)
def test_audio_is_saved_under_its_own_endings(tmp_path: Path, media_type: str, good: str, bad: str, told: str) -> None:
    answer = Continuation(AUDIO, 0, "f", "r", 24_000, media_type, {})
    assert answer.save(tmp_path / good).read_bytes() == AUDIO
    with pytest.raises(ValueError, match=told):
        answer.save(tmp_path / bad)


def test_the_command_refuses_an_output_that_is_no_wav(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["prompt.wav", "-o", "out.mp3"])
    assert capsys.readouterr().err.endswith("whispergpt-client: error: out.mp3 does not end in .wav\n")


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://me:secret@127.0.0.1:{port}")
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Client("http://server.invalid:8000") as client:
        for ask in (client.models, lambda: list(client.stream(AUDIO))):
            with pytest.raises(WhisperGPTError, match=f"through the proxy http://127.0.0.1:{port}") as lost:
                ask()
            assert "NO_PROXY" in lost.value.message and "secret" not in lost.value.message
