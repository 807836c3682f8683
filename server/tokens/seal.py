"""Seals: text that only this server, or one with the same key, can have made. It is signed, not secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

_SIGNATURE_BYTES, _MARK_BYTES = 32, 16


class Seal:
    """Makes text of bytes, and bytes of text that was made with the same key and for the same purpose.

    Args:
        key: shared by servers that trust each other's seals; None makes one that ends with this process.
        purpose: text sealed for one purpose does not open for another.
    """

    def __init__(self, key: str | None, purpose: str) -> None:
        root = hashlib.sha256(key.encode()).digest() if key else secrets.token_bytes(32)
        self._key = hmac.digest(root, purpose.encode(), "sha256")

    def close(self, payload: bytes) -> str:
        """Return the payload and its signature, in characters of URLs and of subprotocols."""
        return base64.urlsafe_b64encode(self._sign(payload) + payload).decode().rstrip("=")

    def open(self, text: str) -> bytes | None:
        """Return the payload; None where the text was not made by ``close`` with this key."""
        try:
            data = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
        except ValueError:
            return None
        signature, payload = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
        return payload if hmac.compare_digest(signature, self._sign(payload)) else None

    def mark(self, text: str) -> bytes:
        """Return a digest of a text that tells nothing of it without the key."""
        return hmac.digest(self._key, b"mark " + text.encode(), "sha256")[:_MARK_BYTES]

    def _sign(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")
