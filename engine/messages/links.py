"""Numbers of prompts and streams, with the link that they came by, and the frames that a stream may be ahead.

A server of several processes has a *link* for each. Numbers of prompts and streams contain the number of the link that
they came by; the engine answers there. Readers grant credit: a stream is stepped while fewer than ``CREDIT_FRAMES`` of
its frames are unacknowledged.
"""

from __future__ import annotations

CREDIT_FRAMES = 300
"""Frames (4 s) that a stream may be ahead of its reader's last acknowledgement."""

LINK_BITS = 40
"""Bits of a prompt's or stream's number that count within its link."""


def first_id(link: int) -> int:
    """Return the first number for prompts and streams of a link."""
    return (link << LINK_BITS) + 1


def link_of(number: int) -> int:
    """Return the link of a prompt's or stream's number."""
    return number >> LINK_BITS
