"""The load generator: who comes when, and what a player makes of what arrives."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tests.support.audio import SAMPLE_RATE, SPEECH
from whispergpt.cli.main import main
from whispergpt.engine.audio.audio_file import read_audio
from whispergpt.engine.playback_clock import PlaybackClock
from whispergpt.load.listener import stream_address
from whispergpt.load.plan import Mix, Span, open_loop, steady
from whispergpt.load.record import ListenerRecord, listening, sum_up
from whispergpt.load.voices import Voices

MIX = Mix(Span(5, 15), Span(1, 3), leave=0.5, slow=0.25, live=0.25)


# --- who comes when


def test_arrivals_are_as_many_as_keep_so_many_listening() -> None:
    duration, streams = 20_000.0, 8.0
    visits = open_loop(MIX, streams, duration, seed=1)
    stays = sum(visit.stays for visit in visits)
    assert stays / duration == pytest.approx(streams, rel=0.05)
    gaps = np.diff([visit.at for visit in visits])
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.1)  # as exponential ones are


def test_the_mix_is_as_asked() -> None:
    visits = open_loop(MIX, 8, 20_000, seed=2)
    assert np.mean([visit.ends != "end" for visit in visits]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([visit.ends == "vanish" for visit in visits]) == pytest.approx(0.25, abs=0.03)
    assert np.mean([visit.slow for visit in visits]) == pytest.approx(0.25, abs=0.03)
    assert np.mean([visit.live for visit in visits]) == pytest.approx(0.25, abs=0.03)
    assert all(5 <= visit.seconds <= 15 and 1 <= visit.prompt_seconds <= 3 for visit in visits)
    assert all(visit.stays <= visit.seconds for visit in visits)


def test_a_seed_is_a_plan() -> None:
    assert open_loop(MIX, 8, 100, seed=3) == open_loop(MIX, 8, 100, seed=3)
    assert open_loop(MIX, 8, 100, seed=3) != open_loop(MIX, 8, 100, seed=4)


def test_steady_listeners_stay() -> None:
    visits = steady(MIX, 5, 60, seed=0)
    assert [visit.ends for visit in visits] == ["end"] * 5
    assert all(visit.stays == visit.seconds == 60 for visit in visits)


def test_too_many_listeners_are_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        open_loop(MIX, 100_000, 86_400, seed=0)


# --- what is heard


def test_audio_in_time_leaves_no_gap() -> None:
    clock = PlaybackClock(0.05)
    for frame in range(100):
        clock.arrive(10 + 0.02 * frame, 0.02)
    clock.end(12, complete=True)
    assert clock.gaps == [] and clock.received == pytest.approx(2)


def test_playback_waits_for_the_buffer_and_then_runs() -> None:
    clock = PlaybackClock(0.05)
    clock.arrive(0, 0.04)
    assert not clock.playing
    clock.arrive(1, 0.04)  # began late, which is time to first audio and no gap
    assert clock.playing and clock.lead(1.03) == pytest.approx(0.05)
    assert clock.gaps == []


def test_a_gap_lasts_until_the_buffer_is_full_again() -> None:
    clock = PlaybackClock(0.05)
    clock.arrive(0, 0.1)  # dry at 0.1
    clock.arrive(0.3, 0.02)
    clock.arrive(0.4, 0.04)  # 0.06 there: on with it, dry at 0.46
    assert [(gap.at, pytest.approx(gap.seconds)) for gap in clock.gaps] == [(0.1, 0.3)]
    clock.arrive(0.45, 0.1)
    clock.arrive(0.55, 0.1)
    assert len(clock.gaps) == 1
    clock.arrive(0.80, 0.1)  # dry since 0.66
    assert clock.gaps[1].seconds == pytest.approx(0.14)


def test_what_is_held_at_the_end_is_played() -> None:
    short = PlaybackClock(0.05)
    short.arrive(0, 0.02)
    short.end(0.01, complete=True)
    assert short.playing and not short.gaps
    dry = PlaybackClock(0.05)
    dry.arrive(0, 0.1)
    dry.end(5, complete=True)  # it ran dry because there was no more
    assert not dry.gaps


def test_silence_up_to_the_moment_of_leaving_is_a_gap() -> None:
    left = PlaybackClock(0.05)
    left.arrive(0, 2)
    left.end(19, complete=False)
    assert [(gap.at, gap.seconds) for gap in left.gaps] == [(2, 17)]
    early = PlaybackClock(0.05)
    early.arrive(0, 2)
    early.end(1, complete=False)
    assert not early.gaps


def test_slow_readers_make_their_own_gaps() -> None:
    records = []
    for visit in open_loop(MIX, 8, 30, seed=5):
        clock = PlaybackClock(0.0)
        clock.arrive(0, 0.1)
        clock.arrive(1, 0.1)
        records.append(
            ListenerRecord(visit, clock, came=visit.at, outcome="completed", asked=0, first_audio=0.5, ended=2)
        )
    judged = [record for record in records if not record.visit.slow]
    assert len(judged) < len(records)
    heard = sum_up(records)
    assert heard.underruns == heard.underrun_listeners == len(judged)
    assert heard.silent_seconds == pytest.approx(0.9 * len(judged))
    assert heard.time_to_first_audio_ms is not None and heard.time_to_first_audio_ms.p50 == pytest.approx(500)
    assert heard.most_at_once == len(records) and listening(records)[-1] == (2, 0)


# --- what is sent, and what is refused


def test_no_two_prompts_are_the_same() -> None:
    voices = Voices([SPEECH])
    one, other = steady(Mix(prompt_seconds=Span(60, 60)), 2, 10, seed=0)  # longer than the recording
    assert len(voices.pcm(one)) == 60 * SAMPLE_RATE
    assert (voices.pcm(one) == voices.pcm(one)).all()
    assert voices.file(one) != voices.file(other)
    original = np.round(read_audio(SPEECH) * 32768)
    assert np.abs(voices.pcm(one)[: len(original)] - original).max() <= 1


def run(url: str, *options: str) -> object:
    """``whispergpt load``: returns its status."""
    with pytest.raises(SystemExit) as ended:
        main(["load", url, *options])
    return ended.value.code


@pytest.mark.parametrize(
    "url",
    [
        *("127.0.0.1:8000", "ftp://here", "http://", "http://:80", "http://here:99999", "http://[::1"),
        *("http://127.0.0.1:1/ü", "http://127.0.0.1:1/a b", "http://ä..b", f"http://{'a' * 64}.here", "http://a b"),
    ],
)
def test_an_address_that_is_none(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(url) == 2
    told = capsys.readouterr()
    assert not told.out
    assert told.err.count("\n") == 1 and "is not a server's address" in told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seconds", "9:3"], "not a span of seconds"),
        (["--seconds", "long"], "not a span of seconds"),
        (["--prompt", "nowhere.wav"], "nowhere.wav"),
        (["--page", "nowhere/page.html"], "is not a folder"),
    ],
)
def test_options_that_do_not_fit(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("http://127.0.0.1:1", *arguments) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1


@pytest.mark.parametrize("key", ["ключ", "a\nb", "a b"])
def test_a_key_that_is_none(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("http://127.0.0.1:1", "--api-key", key) == 2
    told = capsys.readouterr().err
    assert "The API key has spaces or other characters" in told and told.count("\n") == 1 and key not in told


def test_addresses_keep_their_path_and_their_secrecy() -> None:
    assert stream_address("https://host/audio/") == "wss://host/audio/stream"
    assert stream_address("http://me:word@[::1]:80") == "ws://me:word@[::1]:80/stream"
    assert stream_address("http://bücher.example:80") == "ws://xn--bcher-kva.example:80/stream"


@pytest.mark.parametrize("options", [["--streams", "2", "--stay", "--duration", "1", "--json"], ["--duration", "1"]])
def test_nobody_answers(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whether anybody would have come or not."""
    assert run("http://127.0.0.1:1", *options) == 1
    told = capsys.readouterr()
    assert not told.out and told.err.count("\n") == 1
    assert "http://127.0.0.1:1 cannot be reached: Connection refused" in told.err


class Answers(BaseHTTPRequestHandler):
    """To everything, in the words of a server's error."""

    protocol_version = "HTTP/1.1"
    status, message = 200, ""

    def do_GET(self) -> None:
        body = json.dumps({"error": {"message": self.message}} if self.message else {}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """On stderr is what is tested."""


@pytest.fixture
def answering() -> Iterator[str]:
    """The address of something that answers HTTP and has no ``/stream``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_a_host_in_any_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("http://ключ.invalid") == 1
    assert "http://ключ.invalid cannot be reached: " in capsys.readouterr().err


def test_every_listener_fails(answering: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(answering, "--streams", "2", "--stay", "--duration", "1", "--json") == 1
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert report["heard"]["listeners"] == {"arrived": 2, "failed": 2}
    assert report["heard"]["reasons"] == {"HTTP 200 instead of a WebSocket": 2}
    assert told.err == "whispergpt load: Every listener failed: HTTP 200 instead of a WebSocket.\n"


@pytest.mark.parametrize(("status", "message"), [(401, "That is no key of this server."), (503, "")])
def test_a_refusal_before_it_begins(
    status: int, message: str, answering: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that is none is told at once; that a server is full is for the listeners to hear."""
    monkeypatch.setattr(Answers, "status", status)
    monkeypatch.setattr(Answers, "message", message)
    assert run(answering, "--streams", "2", "--stay", "--duration", "1", "--json") == (1 if message else 0)
    told = capsys.readouterr()
    if message:
        remedy = "(--api-key or WHISPERGPT_API_KEY names it)."
        assert told.err == f"whispergpt load: {message.rstrip('.')} {remedy}\n" and not told.out
    else:
        assert json.loads(told.out)["heard"]["listeners"] == {"arrived": 2, "refused": 2}


def test_what_answers_is_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connection.recv(65_536)

        answering = threading.Thread(target=answer)
        answering.start()
        assert run(f"http://127.0.0.1:{listener.getsockname()[1]}") == 1
        answering.join()
    told = capsys.readouterr().err
    assert "cannot be reached" in told and told.count("\n") == 1
