"""One HTTP client for all tests: each new one would read the machine's certificates again."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx

HTTP = httpx.Client(timeout=120, limits=httpx.Limits(max_keepalive_connections=0))
"""Bounded in every wait; a connection for each request, so that no test inherits what another left in one."""


def raw_connection(url: str) -> socket.socket:
    """For bytes that no HTTP library would send."""
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    return socket.create_connection((parts.hostname, parts.port), timeout=30)
