"""Time of an Ogg Opus stream, as its pages tell it (RFC 3533, RFC 7845)."""

from __future__ import annotations

OPUS_RATE = 48_000
"""Granules in a second, whatever the rate of the samples."""
_HEADER_BYTES = 27


def granules(pages: bytes) -> int:
    """Return the position behind the last of some whole pages, in samples at 48 kHz.

    Raises:
        ValueError: they are no pages.
    """
    at = last = 0
    while at < len(pages):
        segments = pages[at + 26] if len(pages) >= at + _HEADER_BYTES else 0
        if pages[at : at + 4] != b"OggS" or not segments:
            raise ValueError("a message is no Ogg page")
        last = int.from_bytes(pages[at + 6 : at + 14], "little")
        at += _HEADER_BYTES + segments + sum(pages[at + _HEADER_BYTES : at + _HEADER_BYTES + segments])
    return last
