"""Progress of a request: the part that has come, and the bytes that may be parsed next."""

from __future__ import annotations

from collections.abc import Iterable

from whispergpt.server.edge.connection.unparsed import UnparsedBytes

MOST_HEAD_BYTES = 65_536
PIECE_BYTES = 65_536
"""Most bytes of a connection that are read or parsed at once."""
_CHUNKED_PIECE_BYTES = 4_096
"""Bytes of a piece of a chunked body, where each byte may cost a call."""


class RequestProgress:
    """The part of a request that a connection's parser is in.

    Attributes:
        in_head: whether a request's head has begun and is not complete.
        in_body: whether its head is complete and its body is not.
    """

    def __init__(self) -> None:
        self.in_head = self.in_body = False
        self._left: int | None = None
        """Bytes of the body that have not come; None for a chunked one."""
        self._barren = 0
        """Bytes since the last that completed a head, were part of a body, or ended one."""
        self._came = False
        """True if the latest piece did one of these."""

    def begin_head(self) -> None:
        """Note that a request begins."""
        self.in_head = True

    def end_head(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Note that a head is complete, with these headers."""
        names = dict(headers)
        self.in_head, self.in_body, self._came = False, True, True
        self._left = None if b"transfer-encoding" in names else int(names.get(b"content-length", b"0"))

    def count_body(self, size: int) -> None:
        """Count bytes of a body."""
        self._came = True
        if self._left is not None:
            self._left -= size

    def end_body(self) -> None:
        """Note that a request is complete."""
        self.in_body, self._came = False, True

    def next_piece(self, unparsed: UnparsedBytes) -> bytes:
        """Take the bytes that are to be parsed next, of one request at most."""
        self._came = False
        if self.in_body and self._left is not None:
            return unparsed.counted(min(self._left, PIECE_BYTES))
        most = MOST_HEAD_BYTES + 1 - self._barren
        return unparsed.until_blank_line(min(most, _CHUNKED_PIECE_BYTES) if self.in_body else most)

    def count_piece(self, size: int) -> bool:
        """Count parsed bytes; returns whether the head, or a chunk's head, is within its bound."""
        self._barren = 0 if self._came else self._barren + size
        return self._barren <= MOST_HEAD_BYTES
