"""The queue of streams that wait for a slot."""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whispergpt.engine.streams.scheduler import Stream


class StreamQueue:
    """Streams in the order of their arrival, resumed ones before new ones.

    Streams that need time, real-time ones without a promised place, are kept apart from those that need only a slot: a
    long queue of the former is not searched for one of the latter.
    """

    def __init__(self) -> None:
        self._arrivals = count()
        self._places: dict[Stream, tuple[bool, int]] = {}
        """Sort key of each stream that waits."""
        self._for_time: list[Stream] = []
        self._for_slot: list[Stream] = []

    def __len__(self) -> int:
        return len(self._places)

    def add(self, stream: Stream) -> None:
        """Add a stream behind all others, or before new ones if it is resumed."""
        self._places[stream] = (not stream.plan.resumed, next(self._arrivals))
        insort(self._line_of(stream), stream, key=self._places.__getitem__)

    def remove(self, stream: Stream) -> None:
        """Remove a stream.

        Raises:
            KeyError: it does not wait.
        """
        line = self._line_of(stream)
        del line[bisect_left(line, self._places[stream], key=self._places.__getitem__)]
        del self._places[stream]

    def first(self, there_is_time: bool) -> Stream | None:
        """Return the first stream that may play; without time, one that needs only a slot."""
        lines = (self._for_slot, self._for_time) if there_is_time else (self._for_slot,)
        return min((line[0] for line in lines if line), key=self._places.__getitem__, default=None)

    def _line_of(self, stream: Stream) -> list[Stream]:
        needs_time = stream.plan.pace == "realtime" and not stream.plan.promised
        return self._for_time if needs_time else self._for_slot
