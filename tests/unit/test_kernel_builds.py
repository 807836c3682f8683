"""Where kernels are built: in the cache, elsewhere if it is full or read-only, and nothing is left half built."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.kernels import kernels_expected
from tests.support.small_disk import small_disk
from tests.support.waiting import wait_until
from whispergpt.engine.native import compiler
from whispergpt.engine.native.builds import library_name
from whispergpt.engine.native.compiler import Compilation, CompilerError
from whispergpt.engine.native.library import _from_cache, processor_targets
from whispergpt.engine.native.targets import FLAGS

SLOW = ["sh", "-c", "sleep 600 & sleep 600"]
"""In the compiler's place: it has a child, as g++ has, and never ends by itself."""


@pytest.mark.skipif(not kernels_expected(), reason="this machine has no compiler, or no kernels are for it")
@pytest.mark.parametrize("options", ["size=64k,mode=700", "ro,mode=700"], ids=["full", "read-only"])
def test_a_cache_that_takes_nothing_is_done_without(
    options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr("whispergpt.engine.native.builds.FLAGS", (*FLAGS, "-O0"))
    with small_disk(tmp_path / "cache", options) as cache:
        monkeypatch.setenv("WHISPERGPT_CACHE", str(cache))
        found = _from_cache(processor_targets()[0])
        assert list(cache.iterdir()) == []
    assert found.name.startswith("native-")
    first, told = capsys.readouterr().err.splitlines()
    assert first == f"The kernels for {processor_targets()[0].name} are compiled now, since none are prebuilt."
    assert told.startswith("The compiled kernels are not kept"), told
    assert ("space" if "size" in options else "Read-only") in told
    assert list(temporary.iterdir()) == [], "it is open, and needs no name"


@pytest.mark.skipif(not kernels_expected(), reason="this machine has no compiler, or no kernels are for it")
def test_what_only_can_be_read_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whispergpt.engine.native.builds.FLAGS", (*FLAGS, "-O0"))
    with small_disk(tmp_path / "cache", "mode=700") as cache:
        monkeypatch.setenv("WHISPERGPT_CACHE", str(cache))
        _from_cache(processor_targets()[0])
        (kept,) = cache.iterdir()
        subprocess.run(["mount", "-o", "remount,ro", cache], check=True)
        monkeypatch.setattr("whispergpt.engine.native.library.Compilation", None)  # nothing is compiled
        assert _from_cache(processor_targets()[0]).name == library_name(kept)


def processes_of(folder: Path) -> list[int]:
    """Processes that have the folder for their temporary files."""
    wanted, found = f"TMPDIR={folder}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if any(entry.startswith(wanted) for entry in path.read_bytes().split(b"\0")):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_builder_that_is_killed_leaves_nothing(tmp_path: Path, ending: signal.Signals) -> None:
    code = "from whispergpt.engine.native.compiler import *\n"
    code += f"with Compilation({SLOW!r}, Path({str(tmp_path)!r}), True): pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_until(lambda: len(processes_of(tmp_path)) == 3, "the compiler and its children run")
    finally:
        process.send_signal(ending)
        process.wait()
    wait_until(lambda: not processes_of(tmp_path) and not list(tmp_path.iterdir()), "all is gone")


def test_what_was_killed_with_its_cleaner_goes_with_the_next_build(tmp_path: Path) -> None:
    left = tmp_path / f"{compiler._PREFIX}left"
    left.mkdir()
    (left / "library.so").write_bytes(b"half")
    with Compilation(["sh", "-c", 'touch "$2"', "sh"], tmp_path, shared=True) as made:
        assert not left.exists() and made.parent.parent == tmp_path
        beside = made.parent
        with Compilation(["sh", "-c", "true"], tmp_path, shared=True):
            assert beside.exists(), "that of a live build stays"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"), Compilation(["true"], tmp_path / "file", shared=False):
        pass
    failing = Compilation(["sh", "-c", "echo a note; echo error: nothing >&2; exit 1"], tmp_path, shared=False)
    with pytest.raises(CompilerError, match="error: nothing"), failing:
        pass
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208
