"""Folders of audio into prepared ones: their samples, bad input, and going on after a kill."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.corpus import ROOT, SHARD, all_files, one_line, run_main, speakers, write
from whispergpt.training.data.datasets import load_prepared
from whispergpt.training.data.journal import JOURNAL
from whispergpt.training.data.manifest import MANIFEST, read_manifest
from whispergpt.training.data.prepare import prepare

# --- bad input


def test_unreadable_files_are_listed_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = speakers(tmp_path / "voices")
    (root / "s0" / "text.mp3").write_text("not audio at all")
    (root / "s0" / "empty.wav").write_bytes(b"")
    (root / "s1" / "cut.flac").write_bytes(write(tmp_path / "whole.flac").read_bytes()[:9000])
    (root / "s1" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    os.mkfifo(root / "s2" / "pipe.wav")
    (root / "s3" / "copy.wav").write_bytes((root / "s0" / "0.wav").read_bytes())
    write(root / "s3" / "short.wav", 0.005)
    assert run_main("train", "prepare", root, "-o", tmp_path / "data", "--heldout", "1") == 0
    told = capsys.readouterr()
    assert not told.out
    assert "8 files, 0.02 hours, 7 skipped" in told.err and "and 2 more" in told.err
    assert "skipped voices/s0/empty.wav: The audio is empty" in told.err
    reasons = {file.path: file.reason for file in read_manifest(tmp_path / "data").skipped}
    unread = {"s0/text.mp3", "s0/empty.wav", "s1/cut.flac", "s1/gone.wav", "s2/pipe.wav", "s3/copy.wav", "s3/short.wav"}
    assert reasons.keys() == {f"voices/{name}" for name in unread}
    assert "same file as voices/s0/0.wav" in reasons["voices/s3/copy.wav"]
    assert "cut short" in reasons["voices/s1/cut.flac"]


def test_a_file_longer_than_a_shard_is_skipped(tmp_path: Path) -> None:
    root = speakers(tmp_path / "voices")
    write(root / "s0" / "long.wav", 11)
    skipped = prepare([root], tmp_path / "data", shard_samples=SHARD).manifest.skipped
    assert [file.path for file in skipped] == ["voices/s0/long.wav"] and "longer than" in skipped[0].reason


def test_names_of_any_bytes_are_read(tmp_path: Path) -> None:
    root = speakers(tmp_path / "voices")
    odd = os.fsdecode(b"caf\xe9.wav")
    (root / "s0" / "0.wav").rename(root / "s0" / odd)
    (root / "s1" / "0.wav").rename(root / "s1" / "пример.wav")
    paths = {clip.path for clip in prepare([root], tmp_path / "data").manifest.clips}
    assert {"voices/s0/caf\\xe9.wav", "voices/s1/пример.wav"} < paths
    assert not prepare([root], tmp_path / "data").fresh


@pytest.mark.parametrize(
    ("count", "files", "options", "sentence"),
    [
        (3, 1, (), "24.0 s of audio is too little"),
        (1, 9, (), "one group, voices/s0"),
        (4, 2, ("--heldout", "4"), "no group is left to train on"),
        (4, 2, ("--heldout", "-1"), "--heldout must be at least 0"),
        (4, 2, ("--workers", "0"), "--workers"),
        (4, 2, ("--group-by", "mood"), "--group-by"),
        (0, 0, (), "is not a folder with audio in it"),
    ],
)
def test_too_little_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, files: int, options: tuple[str, ...], sentence: str
) -> None:
    root = speakers(tmp_path / "voices", count, files)
    assert run_main("train", "prepare", root, "-o", tmp_path / "data", *options) == 2
    assert sentence in one_line(capsys)
    assert not (tmp_path / "data" / MANIFEST).exists()


def test_a_speaker_lost_to_bad_files_is_not_counted(tmp_path: Path) -> None:
    root = speakers(tmp_path / "voices", 1, 9)
    (root / "s1").mkdir()
    (root / "s1" / "bad.wav").write_text("nothing")
    with pytest.raises(ValueError, match="one group, voices/s0"):
        prepare([root], tmp_path / "data")


def test_the_output_folder_must_be_free(tmp_path: Path) -> None:
    root, other = speakers(tmp_path / "voices"), speakers(tmp_path / "others")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="other files in it"):
        prepare([root], tmp_path / "full")
    prepare([root], tmp_path / "data")
    for folders, how, sentence in (
        ([other], {}, "was prepared from"),
        ([root], {"group_by": "file"}, "grouped by folder"),
        ([root], {"heldout": 2}, "with --heldout the default"),
    ):
        with pytest.raises(ValueError, match=sentence):
            prepare(folders, tmp_path / "data", **how)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two of the folders are called voices"):
        prepare([root, speakers(tmp_path / "more" / "voices")], tmp_path / "new")
    (tmp_path / "busy").mkdir()
    with (tmp_path / "busy" / JOURNAL).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is preparing"):
            prepare([root], tmp_path / "busy")


# --- stopping and going on


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes in 120 files of ten speakers, two of the files unreadable."""
    root = speakers(tmp_path_factory.mktemp("many") / "voices", 10, 12, 1.0)
    for speaker in (2, 7):
        (root / f"s{speaker}" / "bad.wav").write_text("nothing")
    return root


def in_a_process(folder: Path, out: Path, file_bytes: int | None = None) -> subprocess.Popen[str]:
    """``prepare`` with one worker and small shards, in a process of its own that can be killed."""

    def limit() -> None:
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    code = (
        "import sys; from pathlib import Path; from whispergpt.training.data.prepare import prepare\n"
        f"try: prepare([Path(sys.argv[1])], Path(sys.argv[2]), workers=1, shard_samples={SHARD})\n"
        "except ValueError as error: sys.exit(str(error))"
    )
    command = [sys.executable, "-c", code, str(folder), str(out)]
    return subprocess.Popen(command, cwd=ROOT, preexec_fn=limit, stderr=subprocess.PIPE, text=True)


def lines(out: Path) -> int:
    return (out / JOURNAL).read_bytes().count(b"\n") if (out / JOURNAL).exists() else 0


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(many: Path, tmp_path: Path) -> None:
    prepare([many], tmp_path / "straight", shard_samples=SHARD, workers=2)
    straight, broken = all_files(tmp_path / "straight"), tmp_path / "broken"
    assert len(straight) == 2 + 12  # the manifest, the journal and the shards
    for until in (8, 31, 60):
        with in_a_process(many, broken) as process:
            while lines(broken) < until and process.poll() is None:
                time.sleep(0.0005)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert until <= lines(broken) < 123
        with pytest.raises(ValueError, match="is not finished"):
            load_prepared([broken])
    kept = lines(broken)
    assert prepare([many], broken, shard_samples=SHARD).fresh
    assert kept < lines(broken) == 123
    assert all_files(broken) == straight


@pytest.mark.parametrize("torn", ["samples", "line", "shard", "header", "lost"])
def test_what_was_half_written_is_cut_off(many: Path, tmp_path: Path, torn: str) -> None:
    out = tmp_path / "data"
    prepare([many], out, shard_samples=SHARD)
    straight = all_files(out)
    (out / MANIFEST).unlink()
    journal = straight[JOURNAL].splitlines(keepends=True)
    if torn == "samples":  # The samples of the 41st file lie there, its line does not.
        (out / JOURNAL).write_bytes(b"".join(journal[:41]))
    elif torn == "line":
        (out / JOURNAL).write_bytes(b"".join(journal[:41]) + journal[41][:30])
    elif torn == "shard":  # As after a crash of the system: a shard is shorter than the journal says.
        os.truncate(out / "shard-0003.i16", 100_001)
    elif torn == "header":
        (out / JOURNAL).write_bytes(journal[0][:20])
    else:
        (out / "shard-0005.i16").unlink()
    prepare([many], out, shard_samples=SHARD)
    assert all_files(out) == straight


def test_a_full_disk_keeps_what_is_journalled(many: Path, tmp_path: Path) -> None:
    """No file may grow past 300 kB, which the system refuses in the middle of a write as it does on a full disk."""
    prepare([many], tmp_path / "straight", shard_samples=SHARD)
    out = tmp_path / "data"
    with in_a_process(many, out, file_bytes=300_000) as process:
        _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"{out} cannot grow (File too large): 6 of 122 files are prepared and kept" in error.strip()
    assert lines(out) == 7
    prepare([many], out, shard_samples=SHARD)
    assert all_files(out) == all_files(tmp_path / "straight")


def test_finished_and_unchanged_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = speakers(tmp_path / "voices"), tmp_path / "data"
    assert run_main("train", "prepare", root, "-o", out) == 0
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.iterdir()}
    capsys.readouterr()
    assert run_main("train", "prepare", root, "-o", out) == 0
    assert "already prepared" in capsys.readouterr().err
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.iterdir()} == before

    write(root / "s0" / "new.wav")
    (root / "s1" / "0.wav").unlink()
    os.utime(root / "s2" / "0.wav")
    assert run_main("train", "prepare", root, "-o", out) == 2
    assert "1 files are new, 1 changed and 1 gone" in one_line(capsys)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.iterdir()} == before


def test_files_that_change_before_the_end_are_prepared_again(tmp_path: Path) -> None:
    root, out = speakers(tmp_path / "voices"), tmp_path / "data"
    prepare([root], out, shard_samples=SHARD)
    (out / MANIFEST).unlink()
    write(root / "s1" / "0.wav", 9)
    write(root / "s3" / "2.wav", 3)
    prepare([root], out, shard_samples=SHARD)
    prepare([root], tmp_path / "fresh", shard_samples=SHARD)
    assert all_files(out) == all_files(tmp_path / "fresh")
