"""Tokens on disk: arrays that are filled clip by clip, over several runs if need be, and then mapped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from whispergpt.engine.whole_file import whole_file

FLUSH_EVERY = 16
"""Clips between two records of the progress."""


class TokenFiles:
    """Named arrays in ``folder``.

    Args:
        key: start of the files' names; it must depend on everything that decides their contents.
        arrays: shape and type of each array.
    """

    def __init__(self, folder: Path, key: str, arrays: dict[str, tuple[tuple[int, ...], type[np.generic]]]) -> None:
        self._arrays = arrays
        self._files = {name: folder / f"{key}.{name}.npy" for name in arrays}
        self._partial = {name: folder / f"{key}.{name}.partial.npy" for name in arrays}
        self._note = folder / f"{key}.done.json"
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def complete(self) -> bool:
        """Return whether all arrays are finished."""
        return all(file.exists() for file in self._files.values())

    def read(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the arrays, mapped from disk."""
        return {name: np.load(file, mmap_mode="r") for name, file in self._files.items()}

    def begin(self) -> tuple[dict[str, npt.NDArray[np.generic]], int]:
        """Open the arrays for writing; return them and the number of clips that are in them already."""
        done = self._noted() if all(file.exists() for file in self._partial.values()) else 0
        self._open = {
            name: np.lib.format.open_memmap(self._partial[name], "r+" if done else "w+", dtype=kind, shape=shape)
            for name, (shape, kind) in self._arrays.items()
        }
        return dict(self._open), done

    def note(self, clips: int) -> None:
        """Record that ``clips`` clips are in the arrays; written to disk every ``FLUSH_EVERY`` clips."""
        if clips % FLUSH_EVERY == 0:
            for array in self._open.values():
                array.flush()
            with whole_file(self._note) as whole:
                whole.write_text(json.dumps({"clips": clips}))

    def finish(self) -> None:
        """Give the complete arrays their final names."""
        for name, array in self._open.items():
            array.flush()
            self._partial[name].replace(self._files[name])
        self._note.unlink(missing_ok=True)

    def _noted(self) -> int:
        try:
            return int(json.loads(self._note.read_text())["clips"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0
