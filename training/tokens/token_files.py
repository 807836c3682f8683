"""Tokens on disk: arrays that are filled clip by clip, over several runs if need be, and then mapped."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from whispergpt.engine.whole_file import whole_file

FLUSH_EVERY = 16
"""Clips between two records of the progress."""
LOCK = "filling.lock"
"""Name of the file that is locked in a folder while a run fills arrays there."""

Arrays: TypeAlias = dict[str, npt.NDArray[np.generic]]


class Filling:
    """Arrays that are being filled: ``done`` clips are in ``arrays`` already."""

    def __init__(self, arrays: Arrays, done: int, note: Path) -> None:
        self.arrays, self.done, self._note = arrays, done, note

    def note(self, clips: int) -> None:
        """Record that ``clips`` clips are in the arrays; written to disk every ``FLUSH_EVERY`` clips."""
        if clips % FLUSH_EVERY == 0:
            self.flush()
            with whole_file(self._note) as whole:
                whole.write_text(json.dumps({"clips": clips}))

    def flush(self) -> None:
        """Write to disk what is in the arrays, which are memory maps."""
        for array in self.arrays.values():
            array.flush()  # type: ignore[attr-defined]


class TokenFiles:
    """Named arrays in ``folder``.

    Args:
        key: start of the files' names; it must depend on everything that decides their contents.
        arrays: shape and type of each array.
    """

    def __init__(self, folder: Path, key: str, arrays: dict[str, tuple[tuple[int, ...], type[np.generic]]]) -> None:
        self._folder, self._arrays = folder, arrays
        self._files = {name: folder / f"{key}.{name}.npy" for name in arrays}
        self._partial = {name: folder / f"{key}.{name}.partial.npy" for name in arrays}
        self._note = folder / f"{key}.done.json"
        folder.mkdir(parents=True, exist_ok=True)

    def complete(self) -> bool:
        """Return whether all arrays are finished."""
        return all(file.exists() for file in self._files.values())

    def read(self) -> Arrays:
        """Return the arrays, mapped from disk."""
        return {name: np.load(file, mmap_mode="r") for name, file in self._files.items()}

    @contextmanager
    def filling(self) -> Iterator[Filling | None]:
        """Yield the arrays to be filled, or None where nothing is missing; without an error they are finished then.

        Runs that need the same arrays do not fill them at once: one that fills any in this folder is waited for.
        """
        if self.complete():
            yield None
            return
        with (self._folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.complete():
                yield None
                return
            filling = self._begin()
            yield filling
            filling.flush()
            for name in filling.arrays:
                self._partial[name].replace(self._files[name])
            self._note.unlink(missing_ok=True)

    def _begin(self) -> Filling:
        """Open the arrays for writing, where an earlier run stopped if there was one."""
        done = self._noted() if all(file.exists() for file in self._partial.values()) else 0
        arrays: Arrays = {
            name: np.lib.format.open_memmap(self._partial[name], "r+" if done else "w+", dtype=kind, shape=shape)
            for name, (shape, kind) in self._arrays.items()
        }
        return Filling(arrays, done, self._note)

    def _noted(self) -> int:
        try:
            return int(json.loads(self._note.read_text())["clips"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0
