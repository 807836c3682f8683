"""Tokens that open one WebSocket each: a browser cannot send a key with it, and a key has no place in an address."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict

from server.errors import ApiError

_MOST = 65_536


class EntryTokens:
    """Made for a caller, good for ``seconds`` and one use. Kept in memory: another server does not know them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._made: OrderedDict[str, tuple[str, float]] = OrderedDict()
        """Digest of the caller's key and end, by token; the oldest first, which are the first to end."""

    def make(self, owner: str) -> str:
        """A token for ``owner``.

        Raises:
            ApiError: 429, too many are out.
        """
        now = time.monotonic()
        while self._made and next(iter(self._made.values()))[1] <= now:
            self._made.popitem(last=False)
        if len(self._made) >= _MOST:
            wait = max(1, round(self.seconds))
            raise ApiError(429, "no_capacity", f"Too many tokens are out; try again in {wait} s.", retry_after=wait)
        token = secrets.token_urlsafe(32)
        self._made[token] = owner, now + self.seconds
        return token

    def use(self, token: str) -> str | None:
        """Whose it is; None if it is not, was used, or is too old."""
        owner, end = self._made.pop(token, ("", 0.0))
        return owner if end > time.monotonic() else None
