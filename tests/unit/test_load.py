"""The load generator: who comes when, and what a player makes of what arrives."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.load.heard import Heard, listening, sum_up
from benchmarks.load.listener import stream_address
from benchmarks.load.plan import Mix, Span, open_loop, steady
from benchmarks.load.playback_clock import PlaybackClock
from benchmarks.load.voices import Voices
from cli.main import main
from engine.audio_file import read_audio
from tests.support.audio import SAMPLE_RATE, SPEECH

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
        records.append(Heard(visit, clock, came=visit.at, outcome="completed", asked=0, first_audio=0.5, ended=2))
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


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://here", "http://"])
def test_an_address_that_is_none(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["load", url])
    told = capsys.readouterr()
    assert ended.value.code == 2 and not told.out
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
    with pytest.raises(SystemExit) as ended:
        main(["load", "http://127.0.0.1:1", *arguments])
    told = capsys.readouterr()
    assert ended.value.code == 2 and said in told.err and told.err.count("\n") == 1


def test_addresses_keep_their_path_and_their_secrecy() -> None:
    assert stream_address("https://host/audio/") == "wss://host/audio/stream"


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["load", "http://127.0.0.1:1", "--streams", "2", "--stay", "--duration", "1", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["heard"]["listeners"] == {"arrived": 2, "failed": 2}
    assert all("no connection" in reason for reason in report["heard"]["reasons"])
