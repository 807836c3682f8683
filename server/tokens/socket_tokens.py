"""Tokens that open one WebSocket each: browsers cannot send a key with it, and a key must not be in an address."""

from __future__ import annotations

import heapq
import secrets
import time
from collections.abc import Iterable
from math import ceil

import msgspec

from whispergpt.server.errors import ApiError
from whispergpt.server.ledger import Ledger, Number, OwnLedger
from whispergpt.server.tokens.seal import Seal

_NONCE_BYTES = 16
_MOST_A_SECOND = 64
"""Tokens of one key that may be used in a second, on average over the time that one is valid."""


class _SocketToken(msgspec.Struct, frozen=True, array_like=True):
    """Content of a token: a mark of the caller's key, and when it ends, in seconds since 1970."""

    owner: bytes
    end: float
    nonce: bytes


class SocketTokens:
    """Makes tokens for callers, each valid for ``seconds`` and one use, and opens them.

    They are sealed and not kept. A server with the same key takes them too, once each: it does not know what was used
    here.

    Args:
        seconds: for which a token is valid.
        key: as in ``Seal``.
        ledger: has the tokens that were used.
    """

    def __init__(self, seconds: float, key: str | None, ledger: Ledger | None = None) -> None:
        self.seconds = seconds
        self._seal = Seal(key, "entry")
        self._most = ceil(_MOST_A_SECOND * seconds)
        self._ledger = ledger or OwnLedger()
        self._used: list[tuple[float, bytes]] = []
        """Heap of the end and owner of each token that was used here and is still valid."""

    def make(self, owner: str) -> str:
        """Return a token for ``owner``."""
        entry = _SocketToken(self._seal.mark(owner), time.time() + self.seconds, secrets.token_bytes(_NONCE_BYTES))
        return self._seal.close(msgspec.msgpack.encode(entry))

    def use(self, token: str, owners: Iterable[str]) -> str | None:
        """Use a token up; returns its owner among ``owners``, None if there is none or it is used or too old.

        Raises:
            ApiError: 429, its owner used too many.
        """
        sealed = self._seal.open(token)
        try:
            entry = msgspec.msgpack.decode(sealed or b"", type=_SocketToken)
        except ValueError:  # no seal, or that of another version
            return None
        now = time.time()
        owner = next((one for one in owners if self._seal.mark(one) == entry.owner), None)
        if owner is None or entry.end <= now:
            return None
        with self._ledger.turn:
            if self._ledger.is_used(entry.nonce):
                return None
            self._forget_until(now)
            uses = self._uses(entry.owner)
            if uses.total >= self._most or not self._ledger.use_up(entry.nonce, entry.end, now):
                first = min((end for end, used_by in self._used if used_by == entry.owner), default=now)
                wait = max(1, ceil(first - now))
                told = f"Too many tokens of this key were used; try again in {wait} s."
                raise ApiError(429, "key_tokens", told, retry_after=wait)
            heapq.heappush(self._used, (entry.end, entry.owner))
            uses.part += 1
        return owner

    def _forget_until(self, now: float) -> None:
        """Count used tokens no longer that are not valid any more."""
        while self._used and self._used[0][0] <= now:
            self._uses(heapq.heappop(self._used)[1]).part -= 1

    def _uses(self, owner: bytes) -> Number:
        return self._ledger.number("used tokens", owner.hex())
