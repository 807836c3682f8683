"""The board: memory that the hub and all front ends share, with the numbers that bounds are checked against.

Each process has a *lane*: its own part of every number, and rows for its streams. Lane 0 is the hub's, and has what
belongs to no front end. A process changes its own lane alone. Checking a bound and counting is one step under the
board's lock, which Linux gives back if its holder dies; then the hub clears the lane.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import time
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from whispergpt.server.errors import ApiError

_NUMBERS = 2**17
"""Numbers there may be; each key that is used has about ten."""
_INDEX = 4 * _NUMBERS
_TOKENS = 2**17
_TOKEN_WINDOW = 64
"""Places in the table of used tokens that a token may have."""
ROWS = 8192
"""Streams of one front end."""
ROW = np.dtype([("engine", "<i4"), ("fast", "?"), ("waits", "?"), ("model", "<u8"), ("left", "<f8")])
"""A stream: its engine's number from 1, or 0 in an empty row; the hash of its model; seconds left, or NaN."""


def hash_of(text: str) -> int:
    """Return a hash of 64 bits that all processes agree on."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class Board:
    """The shared memory, as a ledger for the process that has ``lane``.

    Args:
        descriptor: of the memory's file.
        lanes: of all processes, the hub's included.
        lane: of this process.

    Attributes:
        pids: of the processes by lane, 0 where there is none ``[lanes]``.
    """

    def __init__(self, descriptor: int, lanes: int, lane: int) -> None:
        self.descriptor, self.lanes, self.lane = descriptor, lanes, lane
        sizes = {
            "used": 8 * 8,
            "pids": 8 * lanes,
            "high": 8 * lanes,
            "index": 4 * _INDEX,
            "names": 16 * _NUMBERS,
            "parts": 8 * _NUMBERS * lanes,
            "tokens": 16 * _TOKENS,
            "ends": 8 * _TOKENS,
            "rows": ROW.itemsize * ROWS * lanes,
        }
        starts, size = {}, 0
        for name, count in sizes.items():
            starts[name], size = size, size + -(-count // 64) * 64
        os.ftruncate(descriptor, size)
        memory = memoryview(mmap.mmap(descriptor, size))

        def array(name: str, kind: str | np.dtype[np.void], *shape: int) -> npt.NDArray[Any]:
            return np.frombuffer(memory[starts[name] :][: sizes[name]], kind).reshape(shape)

        self._used = array("used", "<i8", -1)
        self.pids, self.high = array("pids", "<i8", lanes), array("high", "<i8", lanes)
        self._index, self._names = array("index", "<i4", -1), array("names", "<u8", -1, 2)
        self.parts = array("parts", "<f8", -1, lanes)
        self._tokens, self._ends = array("tokens", "<u8", -1, 2), array("ends", "<f8", -1)
        self._rows: npt.NDArray[Any] = array("rows", ROW, lanes, ROWS)
        self.turn = _Turn(descriptor)
        self._known: dict[tuple[str, ...], BoardNumber] = {}
        self.pids[lane] = os.getpid()

    @classmethod
    def make(cls, lanes: int) -> Board:
        """Return a new board, for the hub."""
        return cls(os.memfd_create("whispergpt-board"), lanes, 0)

    def number(self, *name: str) -> BoardNumber:
        """Return the number of a name, 0 at first.

        Raises:
            ApiError: 503, there are too many keys.
        """
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = BoardNumber(self, self._place_of("\0".join(name)))
        return known

    def total(self, *name: str) -> float | None:
        """Return the sum of all parts of a number; None where there is none, and none is made."""
        if (known := self._known.get(name)) is not None:
            return known.total
        with self.turn:
            place, _ = self._find("\0".join(name))
        return None if place is None else self.number(*name).total

    def part_of(self, lane: int, *name: str) -> float:
        """Return a lane's part of a number, which is not made where there is none."""
        with self.turn:
            place, _ = self._find("\0".join(name))
        return 0.0 if place is None else float(self.parts[place, lane])

    def _find(self, name: str) -> tuple[int | None, tuple[int, npt.NDArray[np.uint64]]]:
        """Return the place of a number, None where there is none, and where its index and name are or would be."""
        digest = np.frombuffer(hashlib.blake2b(name.encode(), digest_size=16).digest(), "<u8")
        at = int(digest[0]) % _INDEX
        while place := int(self._index[at]):  # places count from 1 here
            if (self._names[place - 1] == digest).all():
                return place - 1, (at, digest)
            at = (at + 1) % _INDEX
        return None, (at, digest)

    def _place_of(self, name: str) -> int:
        with self.turn:
            found, (at, digest) = self._find(name)
            if found is not None:
                return found
            place = int(self._used[0])
            if place == _NUMBERS:
                told = f"The server has counted {_NUMBERS} numbers of keys, the most; restart it, or use fewer keys."
                raise ApiError(503, "no_capacity", told, retry_after=60)
            self._names[place] = digest
            self._used[0] = place + 1
            self._index[at] = place + 1
        return place

    def is_used(self, token: bytes) -> bool:
        """Return whether a token of 16 bytes was used up."""
        window, found = self._window(token)
        return bool(((self._tokens[window] == found).all(axis=1) & (self._ends[window] > time.time())).any())

    def use_up(self, token: bytes, end: float, now: float) -> bool:
        """Note that a token is used up, until ``end``; returns whether there is room for that."""
        window, found = self._window(token)
        free = np.flatnonzero(self._ends[window] <= now)
        if len(free):
            self._tokens[window.start + free[0]] = found
            self._ends[window.start + free[0]] = end
        return len(free) > 0

    def _window(self, token: bytes) -> tuple[slice, npt.NDArray[np.uint64]]:
        found = np.frombuffer(token, "<u8")
        start = int(found[0]) % (_TOKENS - _TOKEN_WINDOW)
        return slice(start, start + _TOKEN_WINDOW), found

    @property
    def own_rows(self) -> npt.NDArray[Any]:
        """Return the rows of this process ``[ROWS]``."""
        rows: npt.NDArray[Any] = self._rows[self.lane]
        return rows

    @property
    def rows(self) -> npt.NDArray[Any]:
        """Return the rows of all lanes up to the last that was ever used ``[lanes, n]``."""
        return self._rows[:, : int(self.high.max())]

    def clear(self, lane: int) -> None:
        """Set every part of a lane to 0 and forget its streams; its process has ended."""
        with self.turn:
            self.parts[: int(self._used[0]), lane] = 0.0
            self._rows[lane]["engine"] = 0
            self.pids[lane] = 0


class BoardNumber:
    """A number on the board."""

    __slots__ = ("_lane", "_row")

    def __init__(self, board: Board, place: int) -> None:
        self._row, self._lane = board.parts[place], board.lane

    @property
    def part(self) -> float:
        return float(self._row[self._lane])

    @part.setter
    def part(self, value: float) -> None:
        self._row[self._lane] = value

    @property
    def common(self) -> float:
        return float(self._row[0])

    @common.setter
    def common(self, value: float) -> None:
        self._row[0] = value

    @property
    def total(self) -> float:
        return float(self._row.sum())

    def of(self, lane: int) -> float:
        """Return the part of a lane."""
        return float(self._row[lane])

    def parts(self) -> list[float]:
        """Return the parts of all lanes."""
        return self._row.tolist()  # type: ignore[no-any-return]


class _Turn:
    """The board's lock, which one process holds at a time; contexts within contexts of a process are one."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._depth = descriptor, 0

    def __enter__(self) -> None:
        if self._depth == 0:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
