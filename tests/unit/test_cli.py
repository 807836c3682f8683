"""The command line: what it writes, its JSON, and wrong arguments in one line with status 2."""

from __future__ import annotations

import ctypes.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.support.odd_files import wave_header
from whispergpt.cli.arguments import WRITABLE, write_audio
from whispergpt.cli.main import COMMANDS, command_of, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "prompt.wav"
    times = np.arange(16_000) / 16_000
    soundfile.write(path, 0.2 * np.sin(2 * np.pi * 220 * times), 16_000)
    return path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)
    assert run("--version") == 0


def test_no_command_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    told = capsys.readouterr()
    assert told.out.startswith("Usage: whispergpt COMMAND")
    assert told.err == "whispergpt: Which command?\n"


def every_command(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for inner, below in getattr(command, "commands", {}).items():
        yield from every_command(f"{name} {inner}", below)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every option in full, and what each command does, on a terminal of the usual width."""
    monkeypatch.setenv("COLUMNS", "80")
    for path, command in every_command(name, command_of(name)):
        assert run(*path.split(), "--help") == 0
        shown = capsys.readouterr().out
        words = shown.replace(",", " ").split()
        assert shown.startswith(f"Usage: whispergpt {path} ")
        assert max(map(len, shown.splitlines())) <= 80
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert {*parameter.opts, *parameter.secondary_opts} <= set(words), path
        for below in getattr(command, "commands", {}).values():
            assert " ".join(below.help.split()) in " ".join(shown.split())


def write_all(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(data)


@contextmanager
def standard_input(data: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a pipe that carries ``data`` in the place of this process's standard input."""
    reading, writing = os.pipe()
    writer, before = threading.Thread(target=write_all, args=(writing, data)), os.dup(0)
    os.dup2(reading, 0)
    os.close(reading)
    writer.start()
    try:
        with open(0, closefd=False) as stdin, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            yield
    finally:
        os.dup2(before, 0)
        os.close(before)
        writer.join()


@pytest.mark.parametrize("source", ["-", "/dev/stdin", "pipe"])
@pytest.mark.parametrize("command", ["continue", "codec"])
def test_a_prompt_may_come_through_a_pipe(
    command: str, source: str, prompt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.wav"
    more = ["--seconds", "0.2"] if command == "continue" else []
    if source == "pipe":
        source = str(tmp_path / "pipe")
        os.mkfifo(source)
        threading.Thread(target=Path(source).write_bytes, args=(prompt.read_bytes(),)).start()
    with standard_input(prompt.read_bytes(), monkeypatch):
        assert run(command, source, "-o", str(output), *more) == 0
    assert len(soundfile.read(output)[0]) == (4_800 if command == "continue" else 24_000)


def test_many_channels_do_not_end_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "many.wav").write_bytes(wave_header(16, 24_000) + bytes(24_000 * 16 * 2))
    assert run("codec", str(tmp_path / "many.wav"), "-o", str(tmp_path / "out.wav")) == 0


def test_continue_is_exact_and_repeats(prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard = []
    for name in ("a.wav", "b.flac"):
        output = tmp_path / name
        assert run("continue", str(prompt), "-o", str(output), "--seconds", "0.3", "--seed", "9", "--json") == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["seed"], result["frames"], result["model"]) == (9, 23, "speech")
        samples, rate = soundfile.read(output, dtype="int16")
        assert rate == 24_000 and len(samples) == 23 * 320
        heard.append(samples)
    assert (heard[0] == heard[1]).all()
    both = tmp_path / "both.wav"
    assert run("continue", str(prompt), "-o", str(both), "--seconds", "0.3", "--seed", "9", "--with-prompt") == 0
    samples, _ = soundfile.read(both, dtype="int16")
    assert len(samples) == 75 * 320 + 23 * 320
    assert (samples[75 * 320 :] == heard[0]).all()


@pytest.mark.skipif(ctypes.util.find_library("portaudio") is None, reason="PortAudio is not installed")
def test_a_loudspeaker_gets_what_the_file_has(prompt: Path, tmp_path: Path) -> None:
    """Through PortAudio to a device of ALSA's that writes a file."""
    played, output, devices = (tmp_path / name for name in ("played.raw", "out.wav", "asound.conf"))
    sink = f'type file slave.pcm {{ type null }} file "{played}" format raw'
    devices.write_text(f"pcm.!default {{ {sink} }}\nctl.!default {{ type null }}\n")
    command = [sys.executable, "-m", "whispergpt.cli.main", "continue", prompt, "-o", output, "--play", "--with-prompt"]
    devices_of = os.environ | {"ALSA_CONFIG_PATH": str(devices)}
    done = subprocess.run([*command, "--seconds", "0.2"], cwd=ROOT, env=devices_of, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    samples, _ = soundfile.read(output, dtype="int16")
    assert len(samples) == 75 * 320 + 15 * 320 and played.read_bytes().startswith(samples.tobytes())


def test_codec_keeps_duration_and_counts_bits(prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.wav"
    assert run("codec", str(prompt), "-o", str(output), "--kbps", "1.5", "--json") == 0
    assert json.loads(capsys.readouterr().out)["codebooks"] == 2
    assert abs(len(soundfile.read(output)[0]) - 24_000) <= 2


def test_models_lists_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "--json") == 0
    models = json.loads(capsys.readouterr().out)["data"]
    assert [model["id"] for model in models] == ["speech", "piano", "piano-gpt-s", "speech-gpt-s"]
    hybrids, token_only = models[:2], models[2:]
    assert all(4.5e6 < model["parameters"] < 5.2e6 for model in hybrids), "4M, and the fine stage"
    assert all(3.6e6 < model["parameters"] < 3.9e6 for model in token_only)
    for model in token_only:
        card = (ROOT / "engine" / "models" / model["id"] / "MODEL_CARD.md").read_text()
        assert f"{model['parameters'] / 1e6:.1f}M parameters" in card, "the card has the code's figure"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonesuch"], "nonesuch"),
        (["keys"], "whispergpt keys: Which command? There is make, list.\n"),
        (["train"], "whispergpt train: Which command? There is prepare, codec, lm, "),
        (["train", "study"], "whispergpt train study: Which command? There is "),
        (["train", "nonesuch"], "whispergpt train: there is no command 'nonesuch'; there is prepare, codec, lm, "),
        (["train", "--nonesuch"], "whispergpt train: No such option: --nonesuch"),
        (["train", "lm"], "whispergpt train lm: Missing argument"),
        (["train", "lm", "FOLDER", "-o", "FOLDER", "--codec", "nonesuch"], "whispergpt train lm: Invalid value: There"),
        (
            ["train", "measure", "codec", "--kind", "noise"],
            "whispergpt train measure codec: Invalid value for '--kind'",
        ),
        (
            ["train", "measure", "drift", "PROMPT", "--prompt-seconds", "0.5", "--temperature", "nan"],
            "--temperature must be a finite number, not nan.",
        ),
        (["continue"], "argument"),
        (["continue", "PROMPT"], "Name a file with -o, or hear it with --play."),
        (["continue", "PROMPT", "-o", "OUT", "--format", "mp3"], "--format is for folders and for -o -"),
        (["continue", "PROMPT", "-o", "PROMPT"], "PROMPT is the recording itself, which would be lost: name another"),
        (["codec", "PROMPT", "-o", "LINK"], "LINK is the recording itself, which would be lost: name another"),
        (["continue", "FOLDER", "-o", "OUT"], "FOLDER has no audio in it."),
        (["verify", "PROMPT"], "Missing option '--prompt'"),
        (["continue", "PROMPT", "-o", "OUT", "--seconds", "0"], "seconds"),
        (["continue", "PROMPT", "-o", "OUT", "--seconds", "nan"], "--seconds must be a finite number, not nan."),
        (["continue", "PROMPT", "-o", "OUT", "--seconds", "inf"], "--seconds must be a finite number, not inf."),
        (["continue", "PROMPT", "-o", "OUT", "--top-p", "nan"], "--top-p must be a finite number, not nan."),
        (["continue", "PROMPT", "-o", "OUT", "--seconds", "many"], "'--seconds': must be a number\n"),
        (["continue", "PROMPT", "-o", "OUT", "--seed", "-1"], "seed"),
        (["continue", "PROMPT", "-o", "OUT", "--seed", "1.5"], "'--seed': must be a whole number\n"),
        (["continue", "PROMPT", "-o", "OUT", "--temperature", "3"], "temperature"),
        (["continue", "PROMPT", "-o", "OUT", "--top-p", "0"], "top_p"),
        (["continue", "PROMPT", "-o", "OUT", "--model", "nonesuch"], "nonesuch"),
        (["continue", "PROMPT", "-o", "OUT", "--device", "tpu"], "tpu"),
        (["continue", "PROMPT", "-o", "OUT", "--device", "cuda:99"], "cuda:99"),
        (["continue", "PROMPT", "-o", "OUT", "--dtype", "half"], "half"),
        (["serve", "--dtype", "half"], "--dtype"),
        (["serve", "--device", "tpu"], "--device: 'tpu' is not a device; use auto, cpu, cuda, cuda:N, several"),
        (["serve", "--device", "cuda:1,cpu,cuda:1"], "--device: 'cuda:1' is named twice"),
        (["continue", "PROMPT", "-o", "out.xyz"], ".wav"),
        (["continue", "PROMPT", "-o", "/nonesuch/out.wav"], "/nonesuch"),
        (["continue", "PROMPT", "-o", "A.wav"], "A.wav is a folder"),
        (["continue", "/nonesuch.wav", "-o", "OUT"], "/nonesuch.wav"),
        (["continue", "TEXT", "-o", "OUT"], "not audio"),
        (["codec", "PROMPT", "-o", "OUT", "--kbps", "5"], "--kbps"),
        (["codec", "PROMPT", "-o", "OUT", "--kbps", "nan"], "--kbps must be a finite number, not nan."),
        (["demo", "--prompt", "/nonesuch.wav"], "There is no file /nonesuch.wav."),
        (["demo", "--seconds", "inf"], "--seconds must be a finite number, not inf."),
        (["demo", "--seconds", "-1"], "whispergpt demo: Invalid value: seconds must be "),
        (["demo", "--seconds", "601"], "whispergpt demo: Invalid value: seconds must be "),
        (["demo", "--seed", "-1"], "whispergpt demo: Invalid value: seed must be "),
        (["demo", "--output", "/nonesuch/out.wav"], "/nonesuch is not a folder"),
        (["demo", "-o", "OUT", "--picture", "/nonesuch/out.png"], "/nonesuch is not a folder"),
        (["demo", "-o", "OUT", "--picture", "out.xyz"], "out.xyz does not end in one of .png, "),
        (["demo", "-o", "OUT", "--picture", "A.wav"], "A.wav does not end in one of .png, "),
        (["eval", "/nonesuch", "--model", "speech"], "/nonesuch"),
        (["eval", "FOLDER", "--model", "speech"], "no audio"),
        (["eval", "FOLDER", "--model", "speech", "--condition", "foo"], "for '--condition': 'foo' is not one of"),
        (["bench", "--preset", "foo"], "for '--preset': 'foo' is not one of"),
        (["models", "--nonesuch"], "--nonesuch"),
        (["serve", "--port", "99999"], "whispergpt serve: --port: must be at most 65535\n"),
        (["serve", "--port", "x"], "whispergpt serve: Invalid value for '--port': must be a whole number\n"),
        (["serve", "--max-streams", "0"], "whispergpt serve: --max-streams: must be at least 1\n"),
        (["serve", "extra"], "(s) (extra); `whispergpt serve --help` lists what it takes.\n"),
        (["load", "http://127.0.0.1:1", "--streams", "0"], "'--streams': must be at least 0.01\n"),
        (["load", "http://127.0.0.1:1", "--leave", "2"], "'--leave': must be at most 1\n"),
        (["load", "127.0.0.1:8000"], "is not a server's address, such as http://127.0.0.1:8000.\n"),
        (["keys", "make", "a b", "--file", "OUT"], "use up to 64 letters, digits, '.', '_' and '-'\n"),
        (["keys", "mak"], "whispergpt keys: there is no command 'mak'; there is make, list.\n"),
        (["serve", "--keys", "/nonesuch"], "--keys: /nonesuch: No such file"),
        (["serve", "--keys", "/nonesuch"], "; `whispergpt keys make NAME --file /nonesuch` makes one\n"),
        (["serve", "--keys", "TEXT"], "--keys: TEXT is not a file of keys"),
        (["serve", "--host", "300.1.1.1"], "--host: '300.1.1.1' is neither an address nor a name"),
        (["serve", "--host", "::g"], "--host: '::g' is neither"),
        (["serve", "--host", "a b"], "--host: 'a b' is neither"),
        (["serve", "--host", ".."], "--host: '..' is neither"),
        (["serve", "--host", ""], "--host: '' is neither"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    arguments: list[str], named: str, prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("This is not audio. " * 100)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.wav").mkdir()
    places = {
        "PROMPT": str(prompt),
        "OUT": str(tmp_path / "o.wav"),
        "A.wav": str(tmp_path / "a.wav"),
        "TEXT": str(text),
        "FOLDER": str(tmp_path / "empty"),
        "LINK": str(tmp_path / "link.wav"),
    }
    (tmp_path / "link.wav").symlink_to(prompt)
    before = prompt.read_bytes()
    assert run(*(places.get(a, a) for a in arguments)) == 2
    captured = capsys.readouterr()
    for name, place in places.items():
        named = named.replace(name, place)
    assert named in captured.err
    assert len(captured.err.strip().splitlines()) == 1 and not captured.out
    assert not (tmp_path / "o.wav").exists() and prompt.read_bytes() == before


@pytest.mark.parametrize("host", ["localhost", "127.1", "::1", "fe80::1%eth0", "a_b-1.example.", "bücher.de"])
def test_what_may_be_a_host(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--host", host, "--keys", "/nonesuch") == 2
    assert "serve: --keys: " in capsys.readouterr().err


def test_a_wrong_variable_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WHISPERGPT_KEYS", "/nonesuch")
    assert run("serve") == 2
    remedy = "`whispergpt keys make NAME --file /nonesuch` makes one"
    told = f"whispergpt serve: WHISPERGPT_KEYS: /nonesuch: No such file or directory; {remedy}\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("key", [b"\xff" * 20, b"short", b"a key of two\nlines, twice"])
def test_a_resume_key_that_cannot_be_one_is_one_line(
    key: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WHISPERGPT_RESUME_KEY", os.fsdecode(key))
    assert run("serve") == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("whispergpt serve: WHISPERGPT_RESUME_KEY: ") and "\n" not in told, told
    assert os.fsdecode(key) not in told


def test_audio_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    """Of which every command tells; soundfile has a kind of its own."""
    (tmp_path / "full.wav").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_audio(tmp_path / "full.wav", np.zeros(24_000, np.int16))


SUBTYPES = {".wav": "PCM_16", ".flac": "PCM_16", ".ogg": "OPUS", ".opus": "OPUS", ".mp3": "MPEG_LAYER_III"}


@pytest.mark.parametrize("ending", WRITABLE)
def test_audio_is_written_in_the_format_of_its_ending(ending: str, tmp_path: Path) -> None:
    write_audio(tmp_path / f"out{ending}", np.zeros(24_000, np.int16))
    info = soundfile.info(tmp_path / f"out{ending}")
    assert info.subtype == SUBTYPES[ending] and info.duration == pytest.approx(1, abs=0.1)


def test_one_is_told_in_the_singular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "keys.toml")
    assert run("keys", "make", "one", "--file", file, "--streams", "1") == 0
    assert run("keys", "make", "any", "--file", file) == 0
    capsys.readouterr()
    assert run("keys", "list", "--file", file) == 0
    told = capsys.readouterr().out
    assert told == "one: 1 stream at once, any audio a minute\nany: any number of streams at once, any audio a minute\n"
