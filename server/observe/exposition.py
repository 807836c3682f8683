"""Text of metrics in the format that a scraper asks for, made in parts by several processes."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

_END = b"# EOF\n"
"""Last line of a text in OpenMetrics."""


def format_for(accepted: str) -> tuple[Callable[[Collector], bytes], str]:
    """Return what writes metrics, and the content type: OpenMetrics if ``accepted`` names it (RFC 9110)."""
    try:
        return choose_encoder(accepted)
    except (TypeError, ValueError):  # a version that is none
        return choose_encoder("")


def joined(first: bytes, second: bytes) -> bytes:
    """Return two texts of different metrics in the same format as one."""
    return first.removesuffix(_END) + second
