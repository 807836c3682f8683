"""Whether there is a server at all, asked before anybody is sent to it."""

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
_NOT_ALLOWED = (401, 403)


class ReachError(RuntimeError):
    """Nobody would be heard; the message is for the user."""


def key_headers(api_key: str | None) -> dict[str, str]:
    """What shows the key to a server; nothing where there is none.

    Raises:
        ValueError: the key has characters that no key has.
    """
    if not api_key:
        return {}
    if not all("!" <= letter <= "~" for letter in api_key):
        raise ValueError("The API key has spaces or other characters that no key has.")
    return {"Authorization": f"Bearer {api_key}"}


def check_server(url: str, api_key: str | None) -> None:
    """Ask for the models, with the key. Whatever else answers than a no to it is left to the listeners to judge.

    Raises:
        ReachError: nothing answers in HTTP, or the server says no to the key.
        ValueError: the address is none, or the key.
    """
    parts = server_address(url)
    path = f"{parts.path.rstrip('/')}/v1/models"
    asked = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))
    try:
        with build_opener(_Stay).open(Request(asked, headers=key_headers(api_key)), timeout=_PATIENCE_SECONDS):
            pass
    except HTTPError as answer:
        with answer, contextlib.suppress(ValueError, KeyError, TypeError):  # not in a server's words: a proxy's, say
            if answer.code in _NOT_ALLOWED:
                raise ReachError(str(json.load(answer)["error"]["message"])) from None
    except (OSError, HTTPException) as error:
        raise ReachError(f"{url} cannot be reached: {_reason(error)}.") from None


class _Stay(HTTPRedirectHandler):
    """Takes the key nowhere else."""

    def redirect_request(self, *_: object) -> None:
        return None


def _reason(error: Exception) -> str:
    """In the system's words, where it has some."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, BadStatusLine) and not isinstance(cause, RemoteDisconnected):
        return "what answers there does not speak HTTP"
    if isinstance(cause, OSError) and not isinstance(cause, SSLError):
        return os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror or str(cause)
    return str(cause) or type(cause).__name__
