"""Tokens that open one WebSocket each: a browser cannot send a key with it, and a key has no place in an address."""

from __future__ import annotations

import secrets
import time
from collections import Counter

import msgspec

from server.errors import ApiError
from server.seal import Seal

_NONCE_BYTES = 16
_MOST = 4096
"""Tokens of one key that were used and are not too old yet."""


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """``owner``: the digest of the caller's key; ``end``: seconds since 1970, for other machines have to read it."""

    owner: str
    end: float
    nonce: bytes


class EntryTokens:
    """Made for a caller, good for ``seconds`` and one use.

    Sealed, not kept: a server with the same key takes them too, once each, for what was used is known here alone.

    Args:
        seconds: that a token is good for.
        key: as in ``Seal``.
    """

    def __init__(self, seconds: float, key: str | None) -> None:
        self.seconds = seconds
        self._seal = Seal(key, "entry")
        self._used: dict[bytes, _Entry] = {}
        self._uses: Counter[str] = Counter()
        self._look_again = _MOST

    def make(self, owner: str) -> str:
        """A token for ``owner``."""
        entry = _Entry(owner, time.time() + self.seconds, secrets.token_bytes(_NONCE_BYTES))
        return self._seal.close(msgspec.msgpack.encode(entry))

    def use(self, token: str) -> str | None:
        """Whose it is; None if it is not, was used here, or is too old.

        Raises:
            ApiError: 429, its owner used too many.
        """
        sealed = self._seal.open(token)
        if sealed is None:
            return None
        entry = msgspec.msgpack.decode(sealed, type=_Entry)
        if entry.end <= time.time() or entry.nonce in self._used:
            return None
        if len(self._used) >= self._look_again or self._uses[entry.owner] >= _MOST:
            self._forget_old()
        if self._uses[entry.owner] >= _MOST:
            wait = max(1, round(self.seconds))
            told = f"Too many tokens of this key were used; try again in {wait} s."
            raise ApiError(429, "key_tokens", told, retry_after=wait)
        self._used[entry.nonce] = entry
        self._uses[entry.owner] += 1
        return entry.owner

    def _forget_old(self) -> None:
        """What is too old to be used again need not be known any more."""
        now = time.time()
        self._used = {nonce: entry for nonce, entry in self._used.items() if entry.end > now}
        self._uses = Counter(entry.owner for entry in self._used.values())
        self._look_again = 2 * len(self._used) + _MOST  # so that looking costs each use the same
