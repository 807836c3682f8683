"""Recognition of WebSocket handshakes: every other ``Upgrade`` is ignored, as RFC 9110 (7.8) allows."""

from __future__ import annotations

from collections.abc import Iterable

Headers = Iterable[tuple[bytes, bytes]]
_NEEDED = (b"sec-websocket-key", b"sec-websocket-version")


def is_handshake(method: str, version: str, headers: Headers) -> bool:
    """Return whether a request is a WebSocket handshake: a GET of HTTP/1.1 without a body, with all that RFC 6455 (4.1)
    asks for. The WebSocket protocol checks the values."""
    headers = list(headers)
    names = {name.lower() for name, _ in headers}
    return (
        (method, version) == ("GET", "1.1")
        and asks_for_websocket(headers)
        and all(name in names for name in _NEEDED)
        and b"transfer-encoding" not in names
        and all(value.strip() == b"0" for name, value in headers if name.lower() == b"content-length")
    )


def asks_for_websocket(headers: Headers) -> bool:
    """Return whether the headers ask for an upgrade to a WebSocket and to nothing else."""
    headers = list(headers)
    return b"upgrade" in _tokens(headers, b"connection") and _tokens(headers, b"upgrade") == [b"websocket"]


def _tokens(headers: Headers, wanted: bytes) -> list[bytes]:
    """Return the elements of all headers of this name, in lower case."""
    parts = [part for name, value in headers if name.lower() == wanted for part in value.split(b",")]
    return [token for part in parts if (token := part.strip().lower())]


def without_upgrade(method: bytes, url: bytes, version: bytes, headers: Headers) -> bytes:
    """Return the bytes of a request's head without its ``Upgrade``, which makes the parser end behind it."""
    lines = [b"%s %s HTTP/%s" % (method, url, version)]
    lines += [b"%s: %s" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])
