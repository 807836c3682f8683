"""Wrong usages of the command line, HTTP, WebSockets and the client: each gets one sentence that names the remedy."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import connect
from whispergpt_client import Client, WhisperGPTError

from tests.support.audio import SPEECH
from tests.support.faults import GOOD_PROMPT, check_error
from tests.support.http import HTTP, raw_connection
from tests.support.small_disk import small_disk
from whispergpt.cli.arguments import write_audio
from whispergpt.cli.main import main
from whispergpt.server.access.api_keys import add_key
from whispergpt.server.listener import listen
from whispergpt.server.observe import logs
from whispergpt.server.run import serve
from whispergpt.server.serve_error import ServeError
from whispergpt.server.settings import Settings, warn_of_unknown_variables

NOBODY = "http://127.0.0.1:9"
COMMANDS: list[tuple[str, str]] = [
    ("contineu PROMPT", "did you mean continue?"),
    ("Serve", "did you mean serve?"),
    ("--models", "did you mean models?"),
    ("continue PROMPT --duration 5 -o OUT", "did you mean --seconds?"),
    ("continue PROMPT --secnds 5 -o OUT", "did you mean --seconds or --seed?"),
    ("continue PROMPT --gpu -o OUT", "did you mean --device?"),
    ("continue PROMPT --out OUT", "did you mean --output?"),
    ("continue PROMPT --nonesuch -o OUT", "`whispergpt continue --help` lists what it takes."),
    ("continue PROMPT OUT", "did you mean -o "),
    ("continue PROMPT PROMPT -o OUT", "`whispergpt continue --help` lists what it takes."),
    ("continue https://example.org/a.wav -o OUT", "download it, or pipe it: curl ADDRESS | whispergpt … -."),
    ("continue PROMPT -o OUT --model openai/whisper", "hf://openai/whisper is the one of the Hugging Face Hub."),
    ("continue PROMPT -o OUT --model FOLDER", "it has no config.json."),
    ("codec FOLDER -o OUT", "it is a folder."),
    ("continue FOLDER/more --format flac -o OUT", "There is no file or folder "),
    ("continue TEXT -o OUT", "text: The file is not audio"),
    ("codec TEXT -o OUT", "text: The file is not audio"),
    ("demo --prompt PROMPT -o PROMPT", "which would be lost: name another file with -o."),
    ("verify FOLDER --prompt PROMPT", "it is a folder."),
    ("verify PROMPT --prompt PROMPT", "it has no tags that say how it was made."),
    ("eval TEXT --model speech", "it is a file."),
    ("models --all", "`whispergpt models --help` lists what it takes."),
    ("bench --plot /nonesuch/a.png", "/nonesuch is not a folder."),
    ("keys make studio --file KEYS", "choose another name, or delete its lines in the file"),
    ("keys make studio --file /nonesuch/keys", "/nonesuch is not a folder"),
    ("keys list --file TEXT", "is not a file of keys"),
    ("serve --queue-seconds 5", "did you mean WHISPERGPT_QUEUE_SECONDS?"),
    ("serve --prot 5", "--port"),
    ("serve --bind ::1", "did you mean --host?"),
    ("serve --threads 2", "did you mean --workers?"),
    ("serve --host [::1]", "such as 127.0.0.1, ::1 or localhost; --port has the port"),
    ("serve --host http://localhost", "such as 127.0.0.1, ::1 or localhost; --port has the port"),
    ("serve --model hf:/openai/whisper", "hf://openai/whisper is the one of the Hugging Face Hub."),
    ("serve --dtype fp16", "must be 'auto' or 'float32'"),
    ("train codec FOLDER --lr 1 -o OUT", "did you mean --rate?"),
    ("train codec FOLDER --epochs 9 -o OUT", "did you mean --steps?"),
    ("train lm FOLDER --codec speech -o OUT", "`whispergpt train prepare` wrote"),
    ("train prepare TEXT -o OUT", "is not a folder with audio in it"),
    ("train install FOLDER --name mine", "it has no config.json."),
    (f"load {NOBODY}", "is `whispergpt serve` running there?"),
    (f"load {NOBODY} --users 9", "did you mean --streams?"),
    ("load SERVER --streams 0.01 --duration 1", "give a longer --duration or more --streams."),
    ("load SERVER --streams 2 --stay --duration 1 --model nope", "There is no model 'nope' here; there is speech, "),
]


@pytest.mark.parametrize(("line", "remedy"), COMMANDS)
def test_a_command_line(
    line: str, remedy: str, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"PROMPT": SPEECH, "OUT": tmp_path / "out.wav", "SERVER": server, "TEXT": tmp_path / "text"}
    places |= {"FOLDER": tmp_path / "folder", "KEYS": tmp_path / "keys.toml"}
    Path(places["FOLDER"]).mkdir()
    Path(places["TEXT"]).write_text("This is not audio.")
    add_key(Path(places["KEYS"]), "studio", None, None)
    with pytest.raises(SystemExit) as ended:
        main([str(places.get(word, word)) for word in line.split()])
    told = capsys.readouterr().err
    assert ended.value.code in (1, 2) and remedy in told, told
    assert told.startswith("whispergpt") and told.count("\n") == 1 and not Path(places["OUT"]).exists()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("HOSTS", "http://a.example", "write it as audio.example.org"),
        ("CORS_ORIGINS", "a.example", "write it as https://audio.example.org, without a path"),
        ("CORS_ORIGINS", "https://a.example/", "write it as https://audio.example.org, without a path"),
        ("OPEN", "maybe", "must be true or false"),
        ("RESUME_KEY", "short", "must have at least 16 characters"),
        ("LOG_LEVEL", "verbose", "use debug, info, warning or error"),
    ],
)
def test_a_variable(
    name: str, value: str, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"WHISPERGPT_{name}", value)
    with pytest.raises(SystemExit):
        main(["serve"])
    told = capsys.readouterr().err
    assert told.startswith(f"whispergpt serve: WHISPERGPT_{name}: ") and told.endswith(f"{remedy}\n"), told


def test_a_variable_that_is_misspelt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WHISPERGPT_MAX_STREAM", "3")
    logs.configure("info", 0)
    warn_of_unknown_variables()
    told = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (told["variable"], told["did_you_mean"]) == ("WHISPERGPT_MAX_STREAM", "WHISPERGPT_MAX_STREAMS")


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ServeError, match=r"; --host names an address of this machine, such as 127\.0\.0\.1"):
        listen(Settings(host="192.0.2.1", port=0))


def test_a_library_that_another_package_made_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "websockets-15.0.1.dist-info").mkdir()
    (tmp_path / "websockets-15.0.1.dist-info" / "METADATA").write_text("Name: websockets\nVersion: 15.0.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ServeError, match=r"^websockets 15\.0\.1 cannot .* pip install 'websockets<18,>=16', and that "):
        serve(Settings(host="192.0.2.1", port=0))


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=64k") as disk:
        output = disk / "out.wav"
        output.write_bytes(b"what was there before")
        with pytest.raises(OSError, match=f"No space left on device: '{output}'"):
            write_audio(output, np.zeros(100_000, np.int16))
        assert output.read_bytes() == b"what was there before" and list(disk.iterdir()) == [output]


def test_a_standard_output_that_is_full(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(OSError, match="No space"),
        Path("/dev/full").open("w") as full,
        monkeypatch.context() as patched,
    ):
        patched.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit):
            main(["models"])
    assert capsys.readouterr().err == "whispergpt models: standard output: No space left on device\n"


REQUESTS: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("GET", "/continue", {}, 405, "use POST."),
    ("POST", "/continue", {"json": {"audio": "x"}}, 400, "as `curl -F audio=@FILE` sends it."),
    ("POST", "/continue", {"content": GOOD_PROMPT}, 400, "as `curl -F audio=@FILE` sends it."),
    ("POST", "/continue", {"files": {"file": GOOD_PROMPT}}, 400, "there is audio, seconds, seed, "),
    ("POST", "/continue?seconds=3", {"files": {"audio": GOOD_PROMPT}}, 400, "into the form, not into the URL."),
    ("POST", "/continue", {"files": {"audio": GOOD_PROMPT}, "data": {"format": "mp3"}}, 400, "response_format, stream"),
    ("POST", "/continue", {"files": {"audio": GOOD_PROMPT}, "data": {"seconds": ["1", "2"]}}, 400, "send it once."),
    ("POST", "/continue", {"files": {"audio": GOOD_PROMPT}, "data": {"stream": "yes"}}, 400, "true or false"),
    ("POST", "/continue", {"files": {"audio": GOOD_PROMPT}, "data": {"model": "Speech"}}, 400, "there is speech, "),
    ("POST", "/continue", {"files": {"audio": b""}}, 415, "send a file with sound in it"),
    ("GET", "/stream", {}, 426, "open it with a WebSocket client"),
    ("GET", "/v1/model", {}, 404, "GET /docs lists what there is."),
    ("GET", "/v1/play", {}, 404, "POST /v1/play makes another."),
    ("GET", "/v1/play?tokn=a", {}, 400, "no parameter 'tokn'; there is token."),
    ("HEAD", "/v1/play?token=a&seconds=9", {}, 400, ""),
]


@pytest.mark.parametrize(("method", "path", "options", "status", "remedy"), REQUESTS)
def test_a_request(server: str, method: str, path: str, options: dict[str, Any], status: int, remedy: str) -> None:
    answer = HTTP.request(method, server + path, **options)
    assert answer.status_code == status
    if method != "HEAD":
        check_error(answer.json()["error"], remedy)


@pytest.mark.parametrize(
    ("sent", "remedy"),
    [(b"\x16\x03\x01\x02\x00\x01\x00", "use http://"), (b"GET /v1/models\r\n\r\n", "HTTP/1.1 and HTTP/1.0")],
    ids=["TLS", "HTTP/0.9"],
)
def test_another_protocol(server: str, sent: bytes, remedy: str) -> None:
    with raw_connection(server) as connection, connection.makefile("rb") as answer:
        connection.sendall(sent)
        assert remedy.encode() in answer.read()


@pytest.mark.parametrize(
    ("path", "message", "remedy"),
    [
        ("/stream", "hello", "audio goes into binary messages."),
        ("/stream", {"type": "response.crate"}, "there is session.update, "),
        ("/stream", {"type": "response.create"}, "send audio, then input_audio_buffer.commit."),
        ("/stream", {"type": "input_audio_buffer.append", "audio": "AAAA"}, "open /v1/realtime"),
        ("/stream", {"type": "response.create", "seconds": 5}, "there is event_id, response."),
        ("/stream", {"type": "session.update", "session": {"voice": "a"}}, "there is model, input, output, "),
        ("/v1/realtime", "hello", "audio goes as base64 into input_audio_buffer.append."),
        ("/v1/realtime", b"hello", "as base64 in input_audio_buffer.append"),
        (
            "/v1/realtime",
            {"type": "session.update", "session": {"type": "realtime", "voice": "a"}},
            "output.voice now.",
        ),
        ("/v1/realtime", {"type": "input_audio_buffer.commit"}, "send the prompt first."),
    ],
)
def test_a_message(server: str, path: str, message: Any, remedy: str) -> None:
    with connect(server.replace("http", "ws", 1) + path) as socket:
        socket.send(json.dumps(message) if isinstance(message, dict) else message)
        while (event := json.loads(socket.recv(timeout=30)))["type"] != "error":
            pass
        check_error(event["error"], remedy)


async def later() -> AsyncIterator[bytes]:
    yield GOOD_PROMPT


SILENCE = np.zeros(24_000, np.float32)
CALLS: list[tuple[Callable[[Client], Any], str]] = [
    (lambda client: client.continue_file(12345), "A prompt is a path, bytes, "),
    (lambda client: client.continue_file(None), "A prompt is a path, bytes, "),
    (lambda client: client.continue_file(io.StringIO("text")), "open its file in binary mode"),
    (lambda client: client.continue_file(SILENCE), "to_wav(samples, sample_rate) makes one"),
    (lambda client: list(client.stream(SILENCE)), "to_wav(samples, sample_rate) makes one"),
    (lambda client: list(client.stream(None)), "a stream also takes an iterable of bytes."),
    (lambda client: list(client.stream(later())), "AsyncClient streams chunks"),
    (lambda client: list(client.stream(["text"])), "A prompt is bytes, not str"),
    (lambda client: list(client.stream(GOOD_PROMPT, pace="slow")), "must be realtime or fast, not 'slow'."),
    (lambda _: Client("localhost:8000"), "must look like http://host:port"),
    (lambda _: Client(api_key="a b"), "spaces or other characters"),
    (lambda _: Client(timeout=0), "timeout must be above 0"),
    (lambda _: Client(NOBODY).models(), ": Connection refused; is `whispergpt serve` running there?"),
    (lambda _: list(Client(NOBODY).stream(GOOD_PROMPT)), ": Connection refused; is `whispergpt serve` running there?"),
]


@pytest.mark.parametrize(("call", "remedy"), CALLS)
def test_a_call(client: Client, call: Callable[[Client], Any], remedy: str) -> None:
    with pytest.raises((ValueError, WhisperGPTError)) as raised:
        call(client)
    assert remedy in str(raised.value)


def test_https_where_there_is_none(server: str) -> None:
    with pytest.raises(WhisperGPTError, match="it does not speak TLS; use http:// instead of https://"):
        Client(server.replace("http:", "https:")).models()


def test_a_stream_has_one_reader(client: Client) -> None:
    stream = client.stream(GOOD_PROMPT, seconds=None)
    reading = iter(stream)
    next(reading)
    raised: list[WhisperGPTError] = []

    def read() -> None:
        try:
            list(stream)
        except WhisperGPTError as error:
            raised.append(error)

    other = threading.Thread(target=read)
    other.start()
    other.join()
    assert [error.code for error in raised] == ["in_use"]
    assert next(reading), "the first reader reads on"
    stream.close()
