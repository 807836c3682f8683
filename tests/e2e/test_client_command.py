"""``whispergpt-client``: heard, kept, passed on, and what it says when it cannot."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

import pytest
from whispergpt_client.cli import main
from whispergpt_client.meter import Meter, level_db

from tests.support.audio import SAMPLE_RATE, SPEECH
from tests.support.corpus import run_main

NOBODY = "http://127.0.0.1:9"
Done = subprocess.CompletedProcess[bytes]


def run(server: str, *arguments: str, given: bytes = b"", **environment: str) -> Done:
    command = [sys.executable, "-m", "whispergpt_client.cli", "--url", server, *arguments]
    return subprocess.run(command, input=given, capture_output=True, timeout=60, env=os.environ | environment)


def test_a_wav_file_is_written(server: str, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    done = run(server, str(SPEECH), "-o", str(out), "--seconds", "2", "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert b"2.00 s, completed, seed 7, first audio after" in done.stderr and done.stderr.count(b"\n") == 1
    with wave.open(str(out)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (SAMPLE_RATE, 1, 2 * SAMPLE_RATE)
    assert run_main("verify", out, "--prompt", SPEECH) == 0, "its tags say how it was made"


def test_samples_go_through_pipes(server: str) -> None:
    piped = run(server, "-", "-o", "-", "--seconds", "1", "--seed", "7", given=SPEECH.read_bytes())
    again = run(server, str(SPEECH), "-o", "-", "--seconds", "1", "--seed", "7")
    assert piped.returncode == 0 and len(piped.stdout) == 2 * SAMPLE_RATE
    assert piped.stdout == again.stdout


def test_a_prompt_that_can_be_read_once_is_read_once(server: str, tmp_path: Path) -> None:
    """As one that the shell makes with ``<(…)``: its tags need it again at the end."""
    pipe, out = tmp_path / "prompt", tmp_path / "out.wav"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(SPEECH.read_bytes()))
    writer.start()
    done = run(server, str(pipe), "-o", str(out), "--seconds", "1")
    writer.join()
    assert done.returncode == 0, done.stderr
    assert run_main("verify", out, "--prompt", SPEECH) == 0


def test_a_reader_who_leaves_ends_it_quietly(server: str) -> None:
    command = f"{sys.executable} -m whispergpt_client.cli --url {server} {SPEECH} -o - --endless | head -c 1000 | wc -c"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
    assert done.stdout.strip() == b"1000" and b"Traceback" not in done.stderr


@pytest.mark.skipif(ctypes.util.find_library("portaudio") is None, reason="PortAudio is not installed")
def test_it_plays_on_a_device(server: str, tmp_path: Path) -> None:
    """Through PortAudio to a device of ALSA's that swallows sound."""
    (tmp_path / "asound.conf").write_text("pcm.!default { type null }\nctl.!default { type null }\n")
    began = time.monotonic()
    done = run(server, str(SPEECH), "--seconds", "2", ALSA_CONFIG_PATH=str(tmp_path / "asound.conf"))
    assert done.returncode == 0, done.stderr
    assert b"2.00 s, completed" in done.stderr and time.monotonic() - began > 0.3


@pytest.mark.skipif(ctypes.util.find_library("portaudio") is None, reason="PortAudio is not installed")
def test_no_device_is_said_in_a_sentence(server: str, tmp_path: Path) -> None:
    (tmp_path / "asound.conf").write_text("pcm.!default { type hw card 31 }\nctl.!default { type hw card 31 }\n")
    keep = tmp_path / "keep.wav"
    keep.write_bytes(b"what was there before")
    for more, remedy in (
        ([], "-o FILE writes a file instead."),
        (["--play", "-o", str(keep)], "nothing is written: leave --play out for the file alone."),
    ):
        done = run(server, str(SPEECH), *more, ALSA_CONFIG_PATH=str(tmp_path / "asound.conf"))
        said = [line for line in done.stderr.decode().splitlines() if line.startswith("whispergpt-client: ")]
        assert done.returncode == 1 and len(said) == 1 and said[0].endswith(f"); {remedy}")
        assert "Traceback" not in done.stderr.decode()
    assert keep.read_bytes() == b"what was there before"


def test_what_is_wrong_is_said_in_a_sentence(server: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no audio")
    for arguments, told in (
        (["nowhere.wav"], "No such file"),
        ([str(tmp_path / "notes.txt")], "notes.txt: "),
        ([str(SPEECH), "--temperature", "9"], "temperature"),
        ([str(SPEECH), "--url", "http://127.0.0.1:9"], "127.0.0.1:9"),
        ([str(SPEECH), "--url", "nonsense"], "nonsense"),
        ([str(SPEECH), "--url", "http://127.0.0.1:80O0"], "must look like http://host:port"),
        ([str(SPEECH), "-o", "/nowhere/out.wav"], "/nowhere/out.wav"),
        ([str(SPEECH), "-o", str(tmp_path)], "Is a directory"),
        ([str(SPEECH), "-o", "/dev/full"], "No space left"),
    ):
        done = run(server, "-o", str(tmp_path / "out.wav"), *arguments)
        assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and told in done.stderr.decode(), done.stderr


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("--seconds", "nan", "must be a finite number, not nan."),
        ("--seconds", "inf", "must be a finite number, not inf."),
        ("--seconds", "-1", "must be above 0, not -1."),
        ("--seconds", "0", "must be above 0, not 0."),
        ("--seconds", "many", "must be a number, not 'many'."),
        ("--temperature", "nan", "must be a finite number, not nan."),
        ("--top-p", "inf", "must be a finite number, not inf."),
    ],
)
def test_numbers_that_are_none_are_wrong_arguments(
    name: str, value: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--url", NOBODY, str(SPEECH), name, value])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"whispergpt-client: error: argument {name}: {told}"


def test_a_prompt_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.wav"
    own.write_bytes(b"the only copy")
    with pytest.raises(SystemExit) as ended:
        main(["--url", NOBODY, str(own), "-o", f"{tmp_path}/../{tmp_path.name}/own.wav"])
    assert ended.value.code == 2 and own.read_bytes() == b"the only copy"
    assert "own.wav is the recording itself, which would be lost: name another file with -o." in capsys.readouterr().err


def test_a_file_outlives_that_nobody_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep = tmp_path / "keep.wav"
    keep.write_bytes(b"what was there before")
    assert main(["--url", NOBODY, str(SPEECH), "-o", str(keep)]) == 1
    assert keep.read_bytes() == b"what was there before"
    assert main(["--url", NOBODY, str(SPEECH), "-o", str(tmp_path / "new.wav")]) == 1
    assert not (tmp_path / "new.wav").exists()
    assert "No connection with" in capsys.readouterr().err


def test_a_file_outlives_a_refusal(server: str, tmp_path: Path) -> None:
    keep = tmp_path / "keep.wav"
    keep.write_bytes(b"what was there before")
    assert main(["--url", server, str(SPEECH), "--temperature", "9", "-o", str(keep)]) == 1
    assert keep.read_bytes() == b"what was there before"


def test_the_meter_is_for_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    assert level_db(b"\x00\x00" * 100) == float("-inf")
    assert level_db((32_767).to_bytes(2, "little", signed=True) * 100) == pytest.approx(0, abs=0.01)
    Meter().show(b"\x00\x40" * 100, 1.0)
    assert capsys.readouterr().err == ""
