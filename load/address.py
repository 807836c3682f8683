"""Checks of a server's address."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def server_address(url: str) -> SplitResult:
    """Return the parts of ``http://host:port``; an international host name is written in its ASCII form.

    Raises:
        ValueError: the address is invalid.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        told = parts.scheme in ("http", "https") and host and parts.port != 0
    except ValueError:  # invalid port, brackets or label of the host name
        told = False
    if not told:
        raise ValueError(f"{url!r} is not a server's address, such as http://127.0.0.1:8000.")
    user, at, place = parts.netloc.rpartition("@")
    if not place.isascii():
        place = host if parts.port is None else f"{host}:{parts.port}"
    if not all("!" <= letter <= "~" for letter in user + place + parts.path):
        raise ValueError(f"{url!r} is not a server's address: it has characters that must be written as %XX.")
    return parts._replace(netloc=user + at + place)
