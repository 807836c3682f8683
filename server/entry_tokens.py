"""Tokens that open one WebSocket each: a browser cannot send a key with it, and a key has no place in an address."""

from __future__ import annotations

import secrets
import time
from collections import Counter, OrderedDict

from server.errors import ApiError

_MOST = 4096
"""Tokens of one key that are out at once."""


class EntryTokens:
    """Made for a caller, good for ``seconds`` and one use. Kept in memory: another server does not know them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._out: Counter[str] = Counter()
        self._made: OrderedDict[str, tuple[str, float]] = OrderedDict()
        """Digest of the caller's key and end, by token; the oldest first, which are the first to end."""

    def make(self, owner: str) -> str:
        """A token for ``owner``.

        Raises:
            ApiError: 429, too many of its tokens are out.
        """
        now = time.monotonic()
        while self._made and next(iter(self._made.values()))[1] <= now:
            self._take(next(iter(self._made)))
        if self._out[owner] >= _MOST:
            wait = max(1, round(self.seconds))
            told = f"Too many tokens of this key are out; try again in {wait} s."
            raise ApiError(429, "key_tokens", told, retry_after=wait)
        token = secrets.token_urlsafe(32)
        self._made[token] = owner, now + self.seconds
        self._out[owner] += 1
        return token

    def use(self, token: str) -> str | None:
        """Whose it is; None if it is not, was used, or is too old."""
        owner, end = self._take(token)
        return owner if end > time.monotonic() else None

    def _take(self, token: str) -> tuple[str, float]:
        """Whose it was, and its end; from then on there is no such token."""
        if token not in self._made:
            return "", 0.0
        owner, end = self._made.pop(token)
        self._out[owner] -= 1
        if not self._out[owner]:
            del self._out[owner]
        return owner, end
