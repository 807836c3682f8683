"""Parts of joined files: of a chained Ogg (RFC 3533, section 4), and of FLAC files one after another."""

from __future__ import annotations

import io
import struct

from whispergpt.engine.audio.limits import AudioError
from whispergpt.engine.audio.source import Source, part_of

MOST_LINKS = 1_000
"""Parts in one file. Each takes a decoder of its own; an hour of radio has about twenty."""
_PAGE = struct.Struct("<4sBBqIIIB")
_BEGINS_STREAM = 2
"""Flag of a stream's first page."""
_STREAM_INFO = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
"""First bytes of a FLAC file: its mark and the header of the block that must come first. Compressed sound contains
these eight bytes by chance once in 10^11 hours."""
_LAST_BLOCK = 0x80
_CHUNK_BYTES = 1_048_576


def links_of(file: Source, head: bytes) -> list[Source]:
    """Return the parts of a file that begins with ``head``; the file itself where it is a single one.

    Raises:
        AudioError: there are too many parts (``undecodable``).
    """
    if head.startswith(b"OggS"):
        starts = _ogg_links(file)
    elif head.startswith(b"fLaC"):
        starts = _flac_links(file)
    else:
        return [file]
    file.seek(0)
    if len(starts) < 2:
        return [file]
    return [part_of(file, start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]


def _add(starts: list[int], at: int) -> None:
    if len(starts) == MOST_LINKS:
        raise AudioError("undecodable", f"The file consists of more than {MOST_LINKS:,} others; send them singly.")
    starts.append(at)


def _ogg_links(file: Source) -> list[int]:
    """Return the offsets of the parts: a stream that begins after another has continued starts a new part."""
    size = file.seek(0, io.SEEK_END)
    starts, at, together = [0], 0, True
    while True:
        file.seek(at)
        header = file.read(_PAGE.size)
        if len(header) < _PAGE.size:
            return starts
        mark, _, flags, _, _, _, _, segments = _PAGE.unpack(header)
        if mark != b"OggS":
            at = _find(file, (b"OggS",), at + 1, size)
            if at == size:
                return starts
            continue
        begins = bool(flags & _BEGINS_STREAM)
        if begins and not together:
            _add(starts, at)
        together = begins
        at += _PAGE.size + segments + sum(file.read(segments))


def _flac_links(file: Source) -> list[int]:
    size = file.seek(0, io.SEEK_END)
    starts = [0]
    while True:
        at = _find(file, _STREAM_INFO, _end_of_metadata(file, starts[-1]), size)
        if at == size:
            return starts
        _add(starts, at)


def _end_of_metadata(file: Source, at: int) -> int:
    """Return the offset of a FLAC file's sound. The metadata before it may contain any bytes, such as a picture."""
    at += 4
    while True:
        file.seek(at)
        header = file.read(4)
        if len(header) < 4:
            return at
        at += 4 + int.from_bytes(header[1:], "big")
        if header[0] & _LAST_BLOCK:
            return at


def _find(file: Source, marks: tuple[bytes, ...], at: int, size: int) -> int:
    """Return the offset of the first of ``marks`` from ``at`` on; ``size`` if there is none."""
    longest = max(map(len, marks))
    while at < size:
        file.seek(at)
        chunk = file.read(_CHUNK_BYTES)
        found = [place for mark in marks if (place := chunk.find(mark)) >= 0]
        if found:
            return at + min(found)
        if len(chunk) < longest:
            break
        at += len(chunk) - longest + 1
    return size
