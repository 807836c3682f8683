"""Check that a server can be reached, before any listener starts."""

from __future__ import annotations

import contextlib
import json
import os
from http.client import BadStatusLine, HTTPException, RemoteDisconnected
from ssl import SSLError
from urllib.error import HTTPError, URLError
from urllib.parse import urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from whispergpt.load.address import server_address

_PATIENCE_SECONDS = 10.0
_WRONG_KEY = 401
_NOT_ALLOWED = (_WRONG_KEY, 403)


class ReachError(RuntimeError):
    """The server cannot be reached or refuses the key; the message is for the user."""


def key_headers(api_key: str | None) -> dict[str, str]:
    """Return the headers for an API key; none without a key.

    Raises:
        ValueError: the key has invalid characters.
    """
    if not api_key:
        return {}
    if not all("!" <= letter <= "~" for letter in api_key):
        raise ValueError("The API key has spaces or other characters that no key has.")
    return {"Authorization": f"Bearer {api_key}"}


def check_server(url: str, api_key: str | None) -> None:
    """Request the list of models with the key. Other errors than a refused key are left to the listeners.

    Raises:
        ReachError: nothing answers in HTTP, or the server refuses the key.
        ValueError: the address or the key is invalid.
    """
    parts = server_address(url)
    path = f"{parts.path.rstrip('/')}/v1/models"
    asked = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))
    try:
        with build_opener(_Stay).open(Request(asked, headers=key_headers(api_key)), timeout=_PATIENCE_SECONDS):
            pass
    except HTTPError as answer:
        with answer, contextlib.suppress(ValueError, KeyError, TypeError):  # another error format, such as a proxy's
            if answer.code in _NOT_ALLOWED:
                message = str(json.load(answer)["error"]["message"])
                if answer.code == _WRONG_KEY:
                    message = f"{message.rstrip('.')} (--api-key or WHISPERGPT_API_KEY names it)."
                raise ReachError(message) from None
    except (OSError, HTTPException) as error:
        raise ReachError(f"{url} cannot be reached: {_reason(error)}; is `whispergpt serve` running there?") from None


class _Stay(HTTPRedirectHandler):
    """Handler that follows no redirect, so that the key goes to no other host."""

    def redirect_request(self, *_: object) -> None:
        return None


def _reason(error: Exception) -> str:
    """Return the reason of a failed request, if possible as the system's message."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, BadStatusLine) and not isinstance(cause, RemoteDisconnected):
        return "the answer is not HTTP"
    if isinstance(cause, OSError) and not isinstance(cause, SSLError):
        return os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror or str(cause)
    return str(cause) or type(cause).__name__
