"""Precedence: while somebody waits for short work of one caller, long work of others stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from whispergpt.server.access.caller import Caller
from whispergpt.server.ledger import Ledger, OwnLedger

_WHAT = "short work"


class Precedence:
    """Counts the short work that is under way for each caller: prompts being encoded, and uploads being decoded.

    Long work asks ``others_first``, and is told by ``watch`` whenever the answer may be another.

    Args:
        ledger: has the counts.
    """

    def __init__(self, ledger: Ledger | None = None) -> None:
        self._ledger = ledger or OwnLedger()
        self._all = self._ledger.number(_WHAT)
        self._seen = 0.0
        self._watchers: list[Callable[[], None]] = []

    @contextmanager
    def of(self, caller: Caller) -> Iterator[None]:
        """Count short work of a caller until the context ends."""
        own = self._ledger.number(_WHAT, "of key", caller.identity)
        own.part += 1
        self._all.part += 1
        self._tell()
        try:
            yield
        finally:
            own.part -= 1
            self._all.part -= 1
            self._tell()

    @asynccontextmanager
    async def prompt_turn(self, caller: Caller) -> AsyncIterator[None]:
        """Wait for a caller's turn to have a prompt encoded, and count that until the context ends."""
        async with caller.prompt_turn():
            with self.of(caller):
                yield

    def others_first(self, caller: Caller) -> bool:
        """Return whether short work of another caller is under way; of anybody, where callers are not told apart."""
        if caller.alone:
            return self._all.total > 0
        return self._all.total > self._ledger.number(_WHAT, "of key", caller.identity).total

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever short work begins or ends."""
        self._watchers.append(changed)

    def look(self) -> None:
        """Tell those that watch where short work of another front end has begun or ended since."""
        if self._all.total != self._seen:
            self._tell()

    def _tell(self) -> None:
        self._seen = self._all.total
        for changed in self._watchers:
            changed()
