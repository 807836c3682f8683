"""One HTTP client for all tests: each new one would read the machine's certificates again."""

from __future__ import annotations

import httpx

HTTP = httpx.Client(timeout=120, limits=httpx.Limits(max_keepalive_connections=0))
"""Bounded in every wait; a connection for each request, so that no test inherits what another left in one."""
