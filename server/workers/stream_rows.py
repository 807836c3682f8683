"""Streams on the board: each front end writes rows for its own, and all of them read them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.stream_plan import Pace
from whispergpt.server.errors import ApiError
from whispergpt.server.link.live_streams import OwnStream
from whispergpt.server.workers.board import ROW, ROWS, Board, hash_of


@dataclass(frozen=True)
class RowStream:
    """A stream of any front end."""

    model: ModelInfo
    seconds_left: float | None
    waits: bool


class FreeRows:
    """Rows of this process that have no stream."""

    def __init__(self) -> None:
        self._free = list(reversed(range(ROWS)))

    def take(self) -> int:
        """Return a row.

        Raises:
            ApiError: 429, there is none.
        """
        if not self._free:
            raise ApiError(429, "no_capacity", f"{ROWS} streams play here already; try again.", retry_after=1)
        return self._free.pop()

    def give_back(self, row: int) -> None:
        """Take a row back."""
        self._free.append(row)


class StreamRows:
    """Streams of one engine, whichever front end has them.

    Args:
        free: rows of this process, for all its engines.
        engine: number of the engine.
    """

    def __init__(self, board: Board, free: FreeRows, engine: int) -> None:
        self._board, self._free, self._engine = board, free, engine + 1
        self._own = board.own_rows
        self._row_of: dict[int, int] = {}
        self._hashes: dict[str, int] = {}

    def note(self, stream: OwnStream) -> None:
        """Write a stream of this process."""
        row = self._row_of.get(stream.stream_id)
        if row is None:
            row = self._row_of[stream.stream_id] = self._free.take()
            self._board.high[self._board.lane] = max(row + 1, self._board.high[self._board.lane])
        left = stream.seconds_left
        fast = stream.plan.pace == "fast"
        values = self._engine, fast, stream.waits, self._hash(stream.model.id), math.nan if left is None else left
        self._own[row] = values

    def forget(self, stream_id: int) -> None:
        """Empty a stream's row."""
        row = self._row_of.pop(stream_id, None)
        if row is not None:
            self._own[row]["engine"] = 0
            self._free.give_back(row)

    def live(self, models: dict[str, ModelInfo], model: str | None, pace: Pace | None) -> Sequence[RowStream]:
        """Return all streams, or those of one model and pace."""
        rows = self._board.rows
        rows = rows[rows["engine"] == self._engine]
        if model is not None:
            rows = rows[rows["model"] == self._hash(model)]
        if pace is not None:
            rows = rows[rows["fast"] == (pace == "fast")]
        return _Rows(rows, {self._hash(name): info for name, info in models.items()})

    def _hash(self, model: str) -> int:
        return self._hashes.setdefault(model, hash_of(model))


class _Rows(Sequence[RowStream]):
    """Rows as a sequence, whose streams are made when they are asked for."""

    def __init__(self, rows: npt.NDArray[np.void], models: dict[int, ModelInfo]) -> None:
        assert rows.dtype == ROW
        self._rows, self._models = rows, models

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, which: int) -> RowStream: ...
    @overload
    def __getitem__(self, which: slice) -> Sequence[RowStream]: ...

    def __getitem__(self, which: int | slice) -> RowStream | Sequence[RowStream]:
        if isinstance(which, slice):
            return _Rows(self._rows[which], self._models)
        return next(iter(_Rows(self._rows[[which]], self._models)))

    def __iter__(self) -> Iterator[RowStream]:
        for _, _, waits, model, left in self._rows.tolist():
            if model in self._models:
                yield RowStream(self._models[model], None if math.isnan(left) else left, waits)
