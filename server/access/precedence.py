"""Precedence: while somebody waits for short work of one caller, long work of others stands still."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from whispergpt.server.access.caller import Caller


class Precedence:
    """Counts the short work that is under way for each caller: prompts being encoded, and uploads being decoded.

    Long work asks ``others_first``, and is told by ``watch`` whenever the answer may be another.
    """

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        self._watchers: list[Callable[[], None]] = []

    @contextmanager
    def of(self, caller: Caller) -> Iterator[None]:
        """Count short work of a caller until the context ends."""
        self._under_way[caller.identity] += 1
        self._tell()
        try:
            yield
        finally:
            self._under_way[caller.identity] -= 1
            if not self._under_way[caller.identity]:
                del self._under_way[caller.identity]
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
            return bool(self._under_way)
        return any(identity != caller.identity for identity in self._under_way)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever short work begins or ends."""
        self._watchers.append(changed)

    def _tell(self) -> None:
        for changed in self._watchers:
            changed()
