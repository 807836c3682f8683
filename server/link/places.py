"""Places kept for streams whose prompts are still being encoded."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from whispergpt.engine.stream_plan import Pace
from whispergpt.server.access.caller import Caller
from whispergpt.server.ledger import Ledger, Number, OwnLedger

_ANY = "*"


class Place:
    """A place kept for one stream; leaving it as a context gives it back.

    Args:
        at_once: whether it is a place to play in, and not one in the queue.
        caller: whose stream it is for; it counts as one of the caller's streams.
    """

    def __init__(self, counts: list[Number], model: str, pace: Pace, at_once: bool, caller: Caller | None) -> None:
        self._counts, self._for, self.at_once, self._caller = counts, (model, pace), at_once, caller
        for count in counts:
            count.part += 1
        if caller is not None:
            caller.keep_place()
        self.over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Give the place back; only the first call counts."""
        if not self.over:
            self.over = True
            for count in self._counts:
                count.part -= 1
            if self._caller is not None:
                self._caller.give_place_back()

    def take(self, model: str, pace: Pace) -> bool:
        """Give it back to a stream that starts now; returns whether it was still kept, and for such a stream."""
        fits = not self.over and self._for == (model, pace)
        self.give_back()
        return fits


class Places:
    """All kept places of one engine.

    Args:
        ledger: has their numbers.
        engine: number of the engine.
    """

    def __init__(self, ledger: Ledger | None = None, engine: int = 0) -> None:
        self._ledger, self._engine = ledger or OwnLedger(), str(engine)

    def keep(self, model: str, pace: Pace, at_once: bool, caller: Caller | None = None) -> Place:
        """Keep one more place."""
        counts = [self._number(name, kind) for name in (model, None) for kind in (pace, None)]
        return Place(counts, model, pace, at_once, caller)

    def kept(self, model: str | None = None, pace: Pace | None = None) -> int:
        """Return the number of kept places: all, or those of one model and pace."""
        return int(self._number(model, pace).total)

    def _number(self, model: str | None, pace: Pace | None) -> Number:
        # A model's name follows a mark of its own, so that none is taken for all.
        return self._ledger.number("kept places", self._engine, _ANY if model is None else f"={model}", pace or _ANY)
