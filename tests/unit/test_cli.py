"""The command line: what it writes, its JSON, and wrong arguments in one line with status 2."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cli.main import COMMANDS, main


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
    assert all(4.8e6 < model["parameters"] < 5.2e6 for model in hybrids), "4M, and the fine stage's million"
    assert all(3.6e6 < model["parameters"] < 3.9e6 for model in token_only)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "Usage"),
        (["nonesuch"], "nonesuch"),
        (["continue"], "argument"),
        (["continue", "PROMPT", "-o", "OUT", "--seconds", "0"], "seconds"),
        (["continue", "PROMPT", "-o", "OUT", "--seconds", "nan"], "seconds"),
        (["continue", "PROMPT", "-o", "OUT", "--seconds", "many"], "--seconds"),
        (["continue", "PROMPT", "-o", "OUT", "--seed", "-1"], "seed"),
        (["continue", "PROMPT", "-o", "OUT", "--temperature", "3"], "temperature"),
        (["continue", "PROMPT", "-o", "OUT", "--top-p", "0"], "top_p"),
        (["continue", "PROMPT", "-o", "OUT", "--model", "nonesuch"], "nonesuch"),
        (["continue", "PROMPT", "-o", "OUT", "--device", "tpu"], "tpu"),
        (["continue", "PROMPT", "-o", "OUT", "--device", "cuda:99"], "cuda:99"),
        (["continue", "PROMPT", "-o", "OUT", "--dtype", "half"], "half"),
        (["serve", "--dtype", "half"], "--dtype"),
        (["continue", "PROMPT", "-o", "out.xyz"], ".wav"),
        (["continue", "PROMPT", "-o", "/nonesuch/out.wav"], "/nonesuch"),
        (["continue", "/nonesuch.wav", "-o", "OUT"], "/nonesuch.wav"),
        (["continue", "TEXT", "-o", "OUT"], "not audio"),
        (["codec", "PROMPT", "-o", "OUT", "--kbps", "5"], "--kbps"),
        (["eval", "/nonesuch", "--model", "speech"], "/nonesuch"),
        (["eval", "FOLDER", "--model", "speech"], "no audio"),
        (["models", "--nonesuch"], "--nonesuch"),
        (["serve", "--port", "99999"], "port"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    arguments: list[str], named: str, prompt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("This is not audio. " * 100)
    (tmp_path / "empty").mkdir()
    places = {
        "PROMPT": str(prompt),
        "OUT": str(tmp_path / "o.wav"),
        "TEXT": str(text),
        "FOLDER": str(tmp_path / "empty"),
    }
    assert run(*(places.get(a, a) for a in arguments)) == 2
    captured = capsys.readouterr()
    shown = captured.err or captured.out
    assert named in shown
    assert "Traceback" not in shown
    if arguments:
        assert len(captured.err.strip().splitlines()) == 1 and not captured.out
    assert not (tmp_path / "o.wav").exists()


@pytest.mark.parametrize("key", [b"\xff" * 20, b"short", b"a key of two\nlines, twice"])
def test_a_resume_key_that_cannot_be_one_is_one_line(
    key: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WHISPERGPT_RESUME_KEY", os.fsdecode(key))
    assert run("serve") == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("whispergpt serve: WHISPERGPT_RESUME_KEY: ") and "\n" not in told, told
    assert os.fsdecode(key) not in told
