"""Bytes of a connection that were received and not parsed yet, cut so that no piece holds more than one request."""

from __future__ import annotations

_BLANK_LINE = b"\r\n\r\n"


class UnparsedBytes:
    """Buffer of received bytes.

    A request's head ends with an empty line, and so does a chunked body: a piece that ends with the first empty line in
    it cannot reach into another request.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._seen = b""
        """Last bytes handed out, which may begin an empty line."""

    def __len__(self) -> int:
        return len(self._bytes)

    def add(self, data: bytes) -> None:
        """Append what was received."""
        self._bytes += data

    def clear(self) -> None:
        """Forget everything."""
        self._bytes.clear()
        self._seen = b""

    def until_blank_line(self, most: int) -> bytes:
        """Hand out bytes up to the end of the first empty line, at most ``most``."""
        # An empty line that has begun already ends within the first bytes; any other is in what waits alone.
        begun = (self._seen + self._bytes[: len(_BLANK_LINE) - 1]).find(_BLANK_LINE)
        found = begun - len(self._seen) if begun >= 0 else self._bytes.find(_BLANK_LINE, 0, most)
        end = found + len(_BLANK_LINE)
        if (begun < 0 and found < 0) or end > most:
            piece = self._take(most)
            self._seen = (self._seen + piece)[1 - len(_BLANK_LINE) :]
            return piece
        self._seen = b""
        return self._take(end)

    def counted(self, most: int) -> bytes:
        """Hand out at most ``most`` bytes of a body of known size."""
        self._seen = b""
        return self._take(most)

    def _take(self, count: int) -> bytes:
        piece = bytes(self._bytes[:count])
        del self._bytes[:count]
        return piece
