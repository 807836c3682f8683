"""HTTP requests and answers as both clients write and read them; no connection is made here."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import httpx

from whispergpt_client.continuation import Continuation, parse_server_timing
from whispergpt_client.errors import WhisperGPTError, error_from_envelope, seconds_to_wait, timed_out, unreachable
from whispergpt_client.model import Model, model_from_json

ResponseFormat = Literal["wav", "flac", "mp3", "opus", "pcm"]
File = str | PathLike[str] | bytes | bytearray | memoryview | IO[bytes]
"""Path, bytes of a file, or a file opened in binary mode."""
CONNECT_SECONDS = 10.0
"""Longest time for connecting, in seconds."""


def base_url(url: str) -> str:
    """Return the server's address without a slash at its end. Raises ValueError if it is not an http or https URL."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(f"The server's URL must look like http://host:port, not {url!r}.")
    return url.rstrip("/")


def options(url: str, timeout: float, headers: dict[str, str]) -> dict[str, Any]:
    """Return the arguments of an HTTP client for a server. Raises ValueError if ``timeout`` is not above 0."""
    limits = httpx.Limits(max_connections=None)  # who listens to many feeds would wait for a connection of the pool
    return {"base_url": url, "timeout": timeouts(timeout), "headers": headers, "limits": limits}


def without_proxy(error: ImportError) -> ValueError:
    """Return the error of an environment that names a proxy for which a package is missing."""
    told = f"The environment names a proxy (ALL_PROXY or the like) that cannot be used: {str(error).rstrip('.')}"
    return ValueError(f"{told}; install the package, or unset the variable.")


def failed(url: str, waiting_for: str, patience: httpx.Timeout, error: httpx.HTTPError) -> WhisperGPTError:
    """Return the error of a request that got no answer, or not all of it."""
    if isinstance(error, httpx.ConnectTimeout):
        return unreachable(url, TimeoutError(f"no answer within {patience.connect or 0:g} seconds"))
    if isinstance(error, httpx.TimeoutException):
        return timed_out(waiting_for, patience.read or 0)
    return unreachable(url, error)


class Pieces:
    """Pieces of an answer as they arrive; of samples none is divided.

    Args:
        of: format of the answer.
    """

    def __init__(self, of: ResponseFormat) -> None:
        self._bytes = 2 if of == "pcm" else 1
        self._rest = b""

    def whole(self, piece: bytes) -> bytes:
        """Return what is whole of this piece and the rest of those before."""
        piece = self._rest + piece
        end = len(piece) - len(piece) % self._bytes
        self._rest = piece[end:]
        return piece[:end]


def stream_url(url: str) -> str:
    """Return ``ws://host:port/stream`` for ``http://host:port``."""
    parts = urlsplit(url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"{parts.path}/stream", "", ""))


def key_headers(api_key: str | None) -> dict[str, str]:
    """Return the header that carries the key, or no header without a key.

    Raises:
        ValueError: the key has spaces or characters beyond printable ASCII.
    """
    key = os.environ.get("WHISPERGPT_API_KEY", "") if api_key is None else api_key
    if not all("!" <= letter <= "~" for letter in key):
        raise ValueError("The API key has spaces or other characters that no key has.")
    return {"Authorization": f"Bearer {key}"} if key else {}


def timeouts(seconds: float, paused: float = 0.0) -> httpx.Timeout:
    """Return the timeouts: at most ``seconds`` without a byte in either direction, and at most 10 s to connect.

    Args:
        paused: further seconds without a byte from the server.

    Raises:
        ValueError: ``seconds`` is not above 0.
    """
    if not seconds > 0:
        raise ValueError(f"timeout must be above 0 seconds, not {seconds}.")
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS), read=seconds + paused)


def feed_request(token: str, wanted: ResponseFormat, from_seconds: float | None) -> tuple[str, dict[str, str]]:
    """Return the path and the query of ``GET /v1/streams/{token}/audio``."""
    begins = {} if from_seconds is None else {"from": str(from_seconds)}
    return f"/v1/streams/{quote(token, safe='')}/audio", {"format": wanted, **begins}


def read_file(file: File) -> tuple[str, bytes]:
    """Return a prompt's name and bytes. Raises OSError if it cannot be read, ValueError if it is opened as text."""
    if isinstance(file, bytes | bytearray | memoryview):
        return "prompt", bytes(file)
    if isinstance(file, str | PathLike):
        path = Path(fspath(file))
        return path.name, path.read_bytes()
    if not hasattr(file, "read"):
        raise not_a_prompt(file)
    return "prompt", binary(file.read())


def not_a_prompt(value: object) -> ValueError:
    """Return the error of a value that is given as a prompt and cannot be one."""
    told = f"A prompt is a path, bytes, or a file opened in binary mode, not {type(value).__name__}"
    if hasattr(value, "__array__"):
        return ValueError(f"{told}: to_wav(samples, sample_rate) makes one of an array.")
    if isinstance(value, AsyncIterable):
        return ValueError(f"{told}: AsyncClient streams chunks that come from an asynchronous iterable.")
    return ValueError(f"{told}; a stream also takes an iterable of bytes.")


def binary(part: object) -> bytes:
    """Return bytes-like data as bytes. Raises ValueError for text and other objects."""
    if isinstance(part, bytes | bytearray | memoryview):
        return bytes(part)
    raise ValueError(
        f"A prompt is bytes, not {type(part).__name__}: open its file in binary mode, as open(path, 'rb')."
    )


def continue_fields(**fields: str | float | bool | None) -> dict[str, str]:
    """Return the form of ``POST /continue``, without the fields that are None."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in fields.items()
        if value is not None
    }


def parse_continuation(response: httpx.Response) -> Continuation:
    """Return the continuation in an answer. Raises WhisperGPTError if the server refused."""
    raise_for_error(response)
    headers = response.headers
    try:
        return Continuation(
            audio=response.content,
            seed=int(headers["x-seed"]),
            fingerprint=headers["x-fingerprint"],
            request_id=headers["x-request-id"],
            sample_rate=int(headers["x-sample-rate"]),
            media_type=headers["content-type"].partition(";")[0],
            timings=parse_server_timing(headers.get("server-timing", "")),
        )
    except (KeyError, ValueError) as error:
        raise _unexpected(response, error) from error


def parse_models(response: httpx.Response) -> list[Model]:
    """Return the models in an answer. Raises WhisperGPTError if the server refused."""
    raise_for_error(response)
    try:
        return [model_from_json(entry) for entry in response.json()["data"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _unexpected(response, error) from error


def parse_ready(response: httpx.Response) -> bool:
    """Return False on status 503, True on success. Raises WhisperGPTError on any other status."""
    if response.status_code == 503:
        return False
    raise_for_error(response)
    return True


def raise_for_error(response: httpx.Response) -> None:
    """Raise a WhisperGPTError if the status is not a success."""
    if response.is_success:
        return
    try:
        body: Any = response.json()
    except ValueError:
        body = None
    raise error_from_envelope(
        body, status=response.status_code, retry_after=seconds_to_wait(response.headers.get("retry-after", ""))
    )


def _unexpected(response: httpx.Response, cause: Exception) -> WhisperGPTError:
    message = f"The server's answer is not what this client expects ({type(cause).__name__}: {cause})."
    return WhisperGPTError("protocol_error", "unexpected_answer", message, status=response.status_code)
