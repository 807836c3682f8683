"""A server that is killed, at any point of its start and after it, leaves no process, file or shared memory behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.support.kernels import kernels_expected
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ROOT, START_SECONDS
from whispergpt.engine.checkpoints.user_cache import user_cache

END_SECONDS = 30.0
"""What ends by itself does so at once; this is for a busy machine."""
_SHARED_MEMORY = Path("/dev/shm")


class Start:
    """A server that is starting, and every process that descends from it, wherever they belong by now."""

    def __init__(self, folder: Path, root: Path = ROOT, kernels: Iterable[Path] = ()) -> None:
        self.temporary, self.cache = folder / "temporary", folder / "cache"
        self.temporary.mkdir()
        self.cache.mkdir(mode=0o700)
        for library in kernels:  # compiled before, so that this server need not
            shutil.copy2(library, self.cache)
        self._output = (folder / "output").open("w+")
        self._marked = f"STARTED_FOR={folder}"
        name, _, value = self._marked.partition("=")
        self._shared = set(_SHARED_MEMORY.iterdir())
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-m", "whispergpt.cli.main", "serve", "--port", "0", "--model", "speech"],
            env={
                **os.environ,
                "PYTHONPATH": str(root),
                "TMPDIR": str(self.temporary),
                "WHISPERGPT_CACHE": str(self.cache),
                name: value,
            },
            stdout=self._output,
            stderr=self._output,
        )

    def processes(self, command: bytes = b"") -> list[int]:
        """Those that run this command, in whose environment the mark is."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                marked = self._marked.encode() in (folder / "environ").read_bytes().split(b"\0")
                if marked and command in (folder / "cmdline").read_bytes().replace(b"\0", b" "):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def output(self) -> str:
        return (self.temporary.parent / "output").read_text()

    def kill(self) -> None:
        self._server.kill()
        self._server.wait()

    def check_nothing_is_left(self) -> None:
        wait_until(lambda: not self.processes(), "every process has ended", END_SECONDS)
        left = [*self.temporary.iterdir(), *(path for path in self.cache.glob("*") if path.suffix != ".so")]
        assert left == []
        wait_until(lambda: set(_SHARED_MEMORY.iterdir()) - _in_use() <= self._shared, "no shared memory is left over")

    def close(self) -> None:
        self._output.close()
        for pid in [self._server.pid, *self.processes()]:
            if pid != self._server.pid or self._server.poll() is None:
                os.kill(pid, signal.SIGKILL)
        self._server.wait()


def _in_use() -> set[Path]:
    """Return the files in shared memory that a process has open or mapped, such as those of other tests."""
    used = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [*(process / "fd").iterdir(), *(process / "map_files").iterdir()]
        except OSError:  # it has ended meanwhile, or is another user's
            continue
        for link in links:
            with suppress(OSError):
                used.add(link.readlink())
    return used


def without_kernels(folder: Path) -> Path:
    """Make a copy of the package in which no kernels are compiled yet, and return the folder that has it."""
    package, source = folder / "copy/whispergpt", ROOT / "whispergpt"
    models = source / "engine/models"
    shutil.copytree(
        source / "engine", package / "engine", ignore=shutil.ignore_patterns("built", "models", "__pycache__")
    )
    (package / "engine/models").symlink_to(models.resolve())
    for each in source.iterdir():
        if each.name not in ("engine", "__pycache__"):
            (package / each.name).symlink_to(each.resolve())
    return package.parent


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with closing(Start(tmp_path)) as started:
        yield started


def has_torch(pid: int) -> bool:
    try:
        return b"libtorch" in Path(f"/proc/{pid}/maps").read_bytes()
    except OSError:
        return False


POINTS: dict[str, Callable[[Start], bool]] = {
    "the engine is a process": lambda start: len(start.processes(b"whispergpt.engine.")) > 0,
    "the engine imports torch": lambda start: any(map(has_torch, start.processes(b"whispergpt.engine.process.worker"))),
    "kernels are compiled": lambda start: len(start.processes(b"cc1plus")) > 0,
}


@pytest.mark.parametrize("point", POINTS)
def test_a_server_that_is_killed_as_it_starts(tmp_path: Path, point: str) -> None:
    if point == "kernels are compiled" and not kernels_expected():
        pytest.skip("this machine has no compiler, or no kernels are for it")
    with closing(Start(tmp_path, without_kernels(tmp_path))) as start:
        wait_until(lambda: POINTS[point](start), point, START_SECONDS)
        start.kill()
        start.check_nothing_is_left()


def test_a_stopped_engine_ends_with_its_server(start: Start) -> None:
    wait_until(lambda: POINTS["the engine imports torch"](start), "the engine imports torch", START_SECONDS)
    (engine,) = start.processes(b"whispergpt.engine.process.worker")
    os.kill(engine, signal.SIGSTOP)
    start.kill()
    start.check_nothing_is_left()


def test_a_ready_server_that_is_killed(tmp_path: Path) -> None:
    with closing(Start(tmp_path, kernels=user_cache().glob("*.so"))) as start:
        wait_until(lambda: "\nready http" in f"\n{start.output()}", "the server is ready", START_SECONDS)
        for engine in start.processes(b"whispergpt.engine.process.worker"):
            os.kill(engine, signal.SIGSTOP)
        start.kill()
        start.check_nothing_is_left()
