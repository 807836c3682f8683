"""``whispergpt continue`` of a folder: structure, samples, files that cannot be read, and a second run."""

from __future__ import annotations

import json
import os
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.support.audio import encode, speech
from whispergpt.cli.main import main

FILES = {"a/one.wav": 1.0, "a/b/two.flac": 0.7, "same.wav": 0.6, "same.flac": 0.8}
WRITTEN = {"a/one.flac", "a/b/two.flac", "same.wav.flac", "same.flac.flac"}


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Four recordings, one that breaks off, and a file that is none."""
    folder = tmp_path / "in"
    for name, seconds in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode(speech(seconds), format=name.rpartition(".")[2]))
    (folder / "broken.wav").write_bytes(encode(speech(1.0))[:9_000])
    (folder / "notes.txt").write_text("no audio, and no recording")
    return folder


def run(*arguments: Any) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["continue", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_a_folder_is_continued_as_its_files_and_goes_on_where_it_was(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = recordings / "continued"  # within: its files are not recordings of the next run

    def again(*more: str) -> dict[str, Any]:
        assert run(recordings, "-o", out, "--format", "flac", "--seconds", "0.4", "--json", *more) == 1
        told = capsys.readouterr()
        assert not told.err, "no progress in a pipe"
        result: dict[str, Any] = json.loads(told.out)
        (failed,) = [entry for entry in result["files"] if entry["status"] == "failed"]
        assert failed["file"] == "broken.wav" and "ends early" in failed["reason"]
        assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == WRITTEN
        return result

    first = again("--seed", "8")
    assert (first["written"], first["kept"], first["failed"]) == (4, 0, 1)
    for entry in first["files"]:
        if entry["file"] in ("a/one.wav", "same.flac"):
            alone = tmp_path / "alone.wav"
            assert run(recordings / entry["file"], "-o", alone, "--seconds", "0.4", "--seed", "8") == 0
            there, here = (soundfile.read(path, dtype="int16")[0] for path in (out / entry["output"], alone))
            assert len(here) == 30 * 320 and np.array_equal(there, here), entry
    capsys.readouterr()
    assert again()["kept"] == 4, "any seed will do where none is named"
    cut = out / "a/one.flac"
    cut.write_bytes(cut.read_bytes()[:-500])
    (out / "a/b/two.flac").unlink()
    (recordings / "same.wav").write_bytes(encode(speech(0.9)))
    third = again("--seed", "8")
    assert third["kept"] == 1
    written = {entry["output"] for entry in third["files"] if entry["status"] == "written"}
    assert written == {"a/one.flac", "a/b/two.flac", "same.wav.flac"}
    assert again("--seed", "9")["written"] == 4


def test_a_terminal_sees_progress_and_a_summary(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    with os.fdopen(terminal, "w") as screen:
        monkeypatch.setattr(sys, "stderr", screen)
        assert run(recordings, "-o", tmp_path / "new" / "out", "--seconds", "0.1") == 1
    shown = b""
    while b"skipped broken.wav: The wav file ends early" not in shown:  # a read gives one part of what is there
        shown += os.read(own, 65_536)
    os.close(own)
    assert b"continue:" in shown and b"frame/s" in shown
    assert "4 files written, 0 kept, 1 failed" in capsys.readouterr().out


def test_a_folder_needs_a_folder_of_its_own(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linked = tmp_path / "linked"
    (linked / "a").mkdir(parents=True)
    (linked / "a" / "one.wav").write_bytes(encode(speech(0.6)))
    (recordings / "link").symlink_to(linked)
    before = {path: path.read_bytes() for path in recordings.rglob("*") if path.is_file()}
    for arguments, words in (
        (["-o", recordings], "the next run would continue its continuations too: name another folder with -o."),
        (["-o", linked], "one.wav is a recording itself"),
        (["-o", recordings / "notes.txt"], "is a file"),
        (["-o", "-"], "go to a folder, which -o names"),
        (["--play"], "go to a folder, which -o names"),
        (["-o", tmp_path / "out", "--seconds", "0"], "seconds must be"),
    ):
        assert run(recordings, *arguments) == 2
        told = capsys.readouterr().err
        assert words in told and told.count("\n") == 1, told
    assert before == {path: path.read_bytes() for path in recordings.rglob("*") if path.is_file()}
    assert not (tmp_path / "out").exists()
