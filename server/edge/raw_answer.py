"""Errors that are sent before there is a request, in the envelope of all other errors."""

from __future__ import annotations

from whispergpt.server.errors import ApiError


def raw_answer(error: ApiError) -> bytes:
    """Return an error as bytes of HTTP/1.1; the connection ends after them."""
    answer = error.response({"Connection": "close"})
    lines = [b"HTTP/1.1 %d " % answer.status_code, *(b"%s: %s" % header for header in answer.raw_headers), b"", b""]
    return b"\r\n".join(lines) + bytes(answer.body)
