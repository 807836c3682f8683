"""The server's parts that need no engine: ranges, client events, live PCM, encoders."""

from __future__ import annotations

import io
import os
import re
import resource
import socket
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import soundfile

from whispergpt.engine.audio.audio_file import AudioError, cut_prompt, read_audio
from whispergpt.server.audio.audio_io import PcmPrompt
from whispergpt.server.audio.encoders import Format, encode, encoder
from whispergpt.server.errors import ApiError
from whispergpt.server.listener import listen
from whispergpt.server.open_files import most_connections
from whispergpt.server.parameters import MAX_SEED, Wishes, check_wishes, frames_for, number, truth, whole_number
from whispergpt.server.ready_line import say_draining, say_ready
from whispergpt.server.session.events import MAX_TEXT_BYTES, ResponseCreate, SessionUpdate, parse_event, require_audio
from whispergpt.server.settings import Settings


@pytest.mark.parametrize(("seconds", "frames"), [(5, 375), (0.1 + 0.2, 23), (1 / 75, 1), (1e-9, 1), (600, 45_000)])
def test_frames_are_the_ceiling_without_binary_noise(seconds: float, frames: int) -> None:
    assert frames_for(seconds) == frames


@pytest.mark.parametrize("seconds", [0, -1, 600.01, float("nan"), float("inf")])
def test_seconds_out_of_range_name_their_field(seconds: float) -> None:
    with pytest.raises(ApiError) as refused:
        frames_for(seconds)
    assert (refused.value.status, refused.value.param) == (400, "seconds")


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        (Wishes(seed=-1), "seed"),
        (Wishes(seed=MAX_SEED + 1), "seed"),
        (Wishes(temperature=2.01), "temperature"),
        (Wishes(temperature=float("nan")), "temperature"),
        (Wishes(top_k=1025), "top_k"),
        (Wishes(top_p=0.0), "top_p"),
    ],
)
def test_sampling_out_of_range_names_its_field(wishes: Wishes, param: str) -> None:
    with pytest.raises(ApiError) as refused:
        check_wishes(wishes)
    assert refused.value.param == param


def test_the_ends_of_every_range_are_allowed() -> None:
    check_wishes(Wishes(seed=0, temperature=0, top_k=0, top_p=1))
    check_wishes(Wishes(seed=MAX_SEED, temperature=2, top_k=1024, top_p=1e-6))


@pytest.mark.parametrize("text", ["", "x", "1_000", "nan", "inf", "-Infinity", "0x10", "१", "1e99999", "--1"])
def test_what_is_no_decimal_number_is_refused(text: str) -> None:
    with pytest.raises(ApiError):
        number(text, "seconds")


def test_numbers_and_truths_are_read() -> None:
    assert number(" 2.5e0 ", "seconds") == 2.5
    assert whole_number("9007199254740991", "seed") == MAX_SEED
    assert truth("TRUE", "stream")
    for bad in ("1.5", ""):
        with pytest.raises(ApiError):
            whole_number(bad, "seed")


@pytest.mark.parametrize("digits", [50, 4096])
def test_a_huge_whole_number_is_out_of_range_and_no_bad_value(digits: int) -> None:
    with pytest.raises(ApiError, match=re.escape("seed must be 0 to 2^53 - 1, not a huge number.")) as refused:
        check_wishes(Wishes(seed=whole_number("9" * digits, "seed")))
    assert refused.value.code == "out_of_range"


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("[]", "invalid_json", None),
        ("[" * 60_000, "invalid_json", None),
        ("{}", "missing_field", "type"),
        ('{"type": "nope"}', "unknown_type", "type"),
        ('{"type": "session.update"}', "missing_field", "session"),
        ('{"type": "session.update", "session": {"sed": 1}}', "unknown_field", "session.sed"),
        ('{"type": "session.update", "session": {"seed": "1"}}', "bad_value", "session.seed"),
        ('{"type": "session.update", "session": {"seed": true}}', "bad_value", "session.seed"),
        ('{"type": "session.update", "session": {"input": {"format": "mp4"}}}', "bad_value", "session.input.format"),
        ('{"type": "session.update", "session": {"top_p": 1e999}}', "out_of_range", None),
        ('{"type": "response.create", "response": {"seconds": "5"}}', "bad_value", "response.seconds"),
        ('"' + "x" * MAX_TEXT_BYTES + '"', "too_large", None),
    ],
)
def test_bad_messages_say_what_and_where(text: str, code: str, param: str | None) -> None:
    with pytest.raises(ApiError) as refused:
        parse_event(text)
    assert (refused.value.code, refused.value.param) == (code, param)


@pytest.mark.parametrize(
    ("session", "told"),
    [
        ('{"pace": "slow"}', "session.pace must be realtime or fast, not 'slow'."),
        ('{"pace": 2}', "session.pace must be realtime or fast, not 2."),
        ('{"input": {"format": "mp4"}}', "session.input.format must be file or pcm_s16le, not 'mp4'."),
        ('{"output": {"format": null}}', "session.output.format must be pcm_s16le or opus, not null."),
        ('{"top_k": 5.0}', "session.top_k must be a whole number or null, not 5.0."),
        ('{"top_k": 1e300}', "session.top_k must be a whole number or null, not a huge number."),
        ('{"seed": true}', "session.seed must be a whole number or null, not true."),
        ('{"model": [1]}', "session.model must be text or null, not a list."),
        ('{"input": "%s"}' % ("x" * 50), "session.input must be an object, not '%s'." % ("x" * 40)),
        ('{"pace": "it\'s - at `$.x`"}', "session.pace must be realtime or fast, not 'it's - at `$.x`'."),
        ('{"pace": "a field `x`"}', "session.pace must be realtime or fast, not 'a field `x`'."),
        ('{"pace": %s}' % ("9" * 300), "session.pace must be realtime or fast, not a huge number."),
    ],
)
def test_a_wrong_value_is_told_with_what_there_is(session: str, told: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_event(f'{{"type": "session.update", "session": {session}}}')
    assert (refused.value.message, refused.value.code) == (told, "bad_value")


def test_audio_in_base64_is_told_where_it_goes() -> None:
    with pytest.raises(ApiError, match="takes audio as binary messages, not as base64") as refused:
        parse_event('{"type": "input_audio_buffer.append", "audio": "AAAA"}')
    assert (refused.value.code, refused.value.param, refused.value.close_code) == ("unknown_type", "type", None)


@pytest.mark.parametrize(
    "event", [b'{"type": "input_audio_buffer.commit"}', b'{"type":"anything"}\n', b'{"event_id": "a", "type": "x"} ']
)
def test_an_event_in_a_binary_message_is_told_so(event: bytes) -> None:
    with pytest.raises(ApiError, match="send JSON as a text message") as refused:
        require_audio(event)
    assert (refused.value.code, refused.value.param, refused.value.close_code) == ("event_as_binary", "type", None)


@pytest.mark.parametrize(
    "audio", [b"", b"{", b"{}", b'{"a": 1}', b'{"type": 1}', b"{" * 60_000 + b"}", b"\x00\x01", b'{"type": "x"' * 9]
)
def test_what_is_no_event_is_audio(audio: bytes) -> None:
    require_audio(audio)


def test_good_messages_are_read() -> None:
    update = parse_event('{"type": "session.update", "event_id": "a", "session": {"seed": null, "pace": "fast"}}')
    assert isinstance(update, SessionUpdate)
    assert update.session.seed is None
    assert update.session.pace == "fast"
    create = parse_event('{"type": "response.create"}')
    assert isinstance(create, ResponseCreate)
    assert create.response.seconds is None


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 192_000])
def test_live_pcm_gives_the_samples_of_the_same_wav(rate: int) -> None:
    pcm = (np.sin(np.arange(rate) / 9) * 9_000).astype("<i2")
    wav = io.BytesIO()
    soundfile.write(wav, pcm, rate, format="WAV")
    expected = cut_prompt(read_audio(wav.getvalue()))
    prompt, data, sizes = PcmPrompt(rate), pcm.tobytes(), np.random.default_rng(rate)
    got = b""
    while data:
        size = int(sizes.integers(1, 5_000))
        got += prompt.push(data[:size])
        data = data[size:]
    last, seconds = prompt.finish()
    assert np.array_equal(np.frombuffer(got + last, "<f4"), expected)
    assert seconds == pytest.approx(len(expected) / 24_000)


@pytest.mark.parametrize(("count", "code"), [(11_999, "too_short"), (24_000 * 60 + 1, "too_long")])
def test_live_pcm_has_the_bounds_of_a_file(count: int, code: str) -> None:
    prompt = PcmPrompt(24_000)
    with pytest.raises(AudioError) as refused:
        prompt.push(bytes(2 * count))
        prompt.finish()
    assert refused.value.code == code


def test_live_pcm_must_end_on_a_sample() -> None:
    prompt = PcmPrompt(24_000)
    prompt.push(bytes(48_001))
    with pytest.raises(AudioError, match="middle of a sample"):
        prompt.finish()


@pytest.mark.parametrize("wanted", get_args(Format))
def test_every_format_holds_the_samples_whole_and_streamed(wanted: Format) -> None:
    pcm = (np.sin(np.arange(24_000) / 20) * 8_000).astype("<i2")
    growing = encoder(wanted, len(pcm))
    streamed = b"".join(growing.push(pcm[i : i + 1920].tobytes()) for i in range(0, len(pcm), 1920)) + growing.finish()
    for body in (encode(wanted, pcm.tobytes()), streamed):
        if wanted in ("wav", "pcm"):
            assert body[44 if wanted == "wav" else 0 :] == pcm.tobytes()
            continue
        if wanted == "flac":
            assert np.array_equal(soundfile.read(io.BytesIO(body), dtype="int16")[0], pcm)
            continue
        heard = read_audio(body)
        assert len(heard) >= len(pcm)
        if wanted == "opus":
            assert len(heard) == len(pcm)
    if wanted == "wav":
        assert streamed[40:44] == b"\xff\xff\xff\xff"


def test_small_messages_leave_at_once() -> None:
    """Else the first audio waits for the client's system to acknowledge what came before it."""
    with listen(Settings(port=0)) as listener, socket.create_connection(listener.getsockname()) as _:
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(("hard", "connections"), [(400, 272), (20, 16)])
def test_connections_leave_files_for_other_needs(hard: int, connections: int) -> None:
    """In a process of its own: what is lowered cannot be raised again."""
    code = (
        "import resource; from whispergpt.server.open_files import most_connections;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (20, {hard})); print(most_connections())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(connections)


def test_a_hard_limit_that_the_system_does_not_give_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    assert most_connections() == 128


def test_a_terminal_hears_how_others_reach_it_and_what_ctrl_c_waits_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own, terminal = os.openpty()
    with os.fdopen(terminal, "w") as screen, os.fdopen(own, "rb", buffering=0) as shown:
        monkeypatch.setattr(sys, "stderr", screen)
        for url in ("http://127.0.0.1:8000", "http://[::]:8000"):
            say_ready(url)
        say_draining(30.0, 0)
        say_draining(30.0, 1)
        assert capsys.readouterr().out == "ready http://127.0.0.1:8000\nready http://[::]:8000\n"
        reached, waits = shown.readline().strip(), shown.readline().strip()
        assert reached == (
            b"Here open http://localhost:8000. Others reach it by this machine's name or address; their browsers play "
            b"over https:// alone."
        )
        assert waits == b"Waiting up to 30 s for 1 stream to end; Ctrl-C again ends at once."
