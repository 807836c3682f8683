"""Tokens that open one WebSocket each: a browser cannot send a key with it, and a key has no place in an address."""

from __future__ import annotations

import heapq
import secrets
import time
from collections import Counter
from collections.abc import Iterable
from math import ceil

import msgspec

from whispergpt.server.errors import ApiError
from whispergpt.server.tokens.seal import Seal

_NONCE_BYTES = 16
_MOST_A_SECOND = 64
"""Tokens of one key that may be used, on average over the time that one is good for."""


class _SocketToken(msgspec.Struct, frozen=True, array_like=True):
    """``owner``: a mark of the caller's key; ``end``: seconds since 1970, for other machines have to read it."""

    owner: bytes
    end: float
    nonce: bytes


class SocketTokens:
    """Made for a caller, good for ``seconds`` and one use.

    Sealed, not kept: a server with the same key takes them too, once each, for what was used is known here alone.

    Args:
        seconds: that a token is good for.
        key: as in ``Seal``.
    """

    def __init__(self, seconds: float, key: str | None) -> None:
        self.seconds = seconds
        self._seal = Seal(key, "entry")
        self._most = ceil(_MOST_A_SECOND * seconds)
        self._used: list[tuple[float, bytes, bytes]] = []
        """A heap: end, nonce and owner of each that was used and is not too old to be tried again."""
        self._nonces: set[bytes] = set()
        self._uses: Counter[bytes] = Counter()

    def make(self, owner: str) -> str:
        """A token for ``owner``."""
        entry = _SocketToken(self._seal.mark(owner), time.time() + self.seconds, secrets.token_bytes(_NONCE_BYTES))
        return self._seal.close(msgspec.msgpack.encode(entry))

    def use(self, token: str, owners: Iterable[str]) -> str | None:
        """Whose of ``owners`` it is; None if it is nobody's, was used here, or is too old.

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
        if owner is None or entry.end <= now or entry.nonce in self._nonces:
            return None
        self._forget_until(now)
        if self._uses[entry.owner] >= self._most:
            first = min(end for end, _, used_by in self._used if used_by == entry.owner)
            wait = max(1, ceil(first - now))
            told = f"Too many tokens of this key were used; try again in {wait} s."
            raise ApiError(429, "key_tokens", told, retry_after=wait)
        heapq.heappush(self._used, (entry.end, entry.nonce, entry.owner))
        self._nonces.add(entry.nonce)
        self._uses[entry.owner] += 1
        return owner

    def _forget_until(self, now: float) -> None:
        """What is too old to be used again need not be known any more."""
        while self._used and self._used[0][0] <= now:
            _, nonce, owner = heapq.heappop(self._used)
            self._nonces.remove(nonce)
            self._uses[owner] -= 1
            if not self._uses[owner]:
                del self._uses[owner]
