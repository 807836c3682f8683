"""Checks of a request's head before anything is done with it: version, method, address and ``Host``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import httptools

from whispergpt.server.errors import ApiError

_HOST = re.compile(
    rb"(\[[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9._~%-]{1,40})?\]|[A-Za-z0-9._~!$&'()*+,;=%-]{0,255})(:[0-9]{0,5})?"
)

MOST_LIST_BYTES = 4_096
_LISTS = frozenset(
    {
        *(b"accept", b"accept-encoding", b"access-control-request-headers", b"baggage", b"if-match"),
        *(b"if-none-match", b"range", b"traceparent", b"tracestate", b"x-forwarded-for"),
    }
)
"""Headers that libraries parse on the event loop without a bound of their own."""


def check_size(name: bytes, value: bytes) -> None:
    """Check the size of one header.

    Raises:
        ApiError: 431, the header is a list that is too long.
    """
    if len(value) > MOST_LIST_BYTES and name.lower() in _LISTS:
        told = f"The header {name.decode('ascii', 'replace')} is longer than {MOST_LIST_BYTES} bytes."
        raise ApiError(431, "too_many_headers", told)


def check_start(method: str, version: str) -> None:
    """Check the request line.

    Raises:
        ApiError: 400, the method or the version is not served here.
    """
    if version not in ("1.0", "1.1"):
        raise ApiError(400, "bad_request", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if method == "CONNECT":
        raise ApiError(400, "bad_request", "This server is no proxy: it takes no CONNECT.")


def check_host(version: str, hosts: Sequence[bytes]) -> None:
    """Check the values of all ``Host`` headers of a request: there is one (RFC 9112, 3.2), or none in HTTP/1.0.

    Raises:
        ApiError: 400, there is none, more than one, or none that is a host.
    """
    if len(hosts) > 1:
        raise ApiError(400, "bad_host", "The request has more than one Host header.")
    if not hosts and version != "1.0":
        raise ApiError(400, "bad_host", "The request has no Host header.")
    if hosts and not _HOST.fullmatch(hosts[0].strip()):
        raise ApiError(400, "bad_host", "The request's Host header is not a host.")


def split_absolute(url: bytes) -> tuple[bytes, bytes | None]:
    """Split an absolute address; returns its path with the query, and its host, None for a relative one.

    Raises:
        httptools.HttpParserInvalidURLError: it is no address.
    """
    parts = httptools.parse_url(url)
    name: bytes | None = parts.host
    if name is None:
        return url, None
    host = b"[%s]" % name if b":" in name else name
    host += b":%d" % parts.port if parts.port else b""
    return (parts.path or b"/") + (b"?" + parts.query if parts.query else b""), host
