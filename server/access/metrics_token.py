"""The token that opens ``/metrics`` and nothing else: for a Prometheus that is not to have a key."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

_SHORTEST = 16
_LONGEST = 4096


class MetricsTokenError(ValueError):
    """A file of which no token can be read; the message is written for the operator."""


def read_token(path: Path) -> str:
    """Return the token in a file, without the white space around it.

    Raises:
        MetricsTokenError: the file cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            token = file.read(_LONGEST + 1).strip().decode("ascii")
    except OSError as error:
        raise MetricsTokenError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not _SHORTEST <= len(token) <= _LONGEST or not token.isprintable() or " " in token:
        raise MetricsTokenError(f"{path} does not hold a token: {_SHORTEST} or more letters and digits")
    return token


def sends_token(connection: HTTPConnection, path: Path) -> bool:
    """Return whether a request carries the token as ``Authorization: Bearer TOKEN``; the file is read each time."""
    scheme, _, sent = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return False
    try:
        return hmac.compare_digest(sent.strip().encode(), read_token(path).encode())
    except MetricsTokenError:
        return False
