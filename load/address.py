"""Where a server is, as somebody typed it."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def server_address(url: str) -> SplitResult:
    """The parts of ``http://host:port``; a host of other scripts is spelt as the name system spells it.

    Raises:
        ValueError: it is no such address.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        told = parts.scheme in ("http", "https") and host and parts.port != 0
    except ValueError:  # the port, the brackets of an address, or a host's label that is empty or too long
        told = False
    if not told:
        raise ValueError(f"{url!r} is not a server's address, such as http://127.0.0.1:8000.")
    user, at, place = parts.netloc.rpartition("@")
    if not place.isascii():
        place = host if parts.port is None else f"{host}:{parts.port}"
    if not all("!" <= letter <= "~" for letter in user + place + parts.path):
        raise ValueError(f"{url!r} is not a server's address: it has characters that must be written as %XX.")
    return parts._replace(netloc=user + at + place)
