"""Where a file is several that were joined: a chained Ogg (RFC 3533, section 4), and FLAC files one behind another."""

from __future__ import annotations

import io
import struct

from whispergpt.engine.audio.limits import AudioError
from whispergpt.engine.audio.source import Source, part_of

MOST_LINKS = 1_000
"""Each takes a decoder of its own; an hour of radio has about twenty."""
_PAGE = struct.Struct("<4sBBqIIIB")
_BEGINS_STREAM = 2
"""The flag of a stream's first page."""
_STREAM_INFO = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
"""How a FLAC file begins: its mark and the header of the block that must come first. Compressed sound has eight such
bytes once in 10^11 hours."""
_LAST_BLOCK = 0x80
_CHUNK_BYTES = 1_048_576


def links_of(file: Source, head: bytes) -> list[Source]:
    """The files that this one, which begins with ``head``, consists of; itself where it is one.

    Raises:
        AudioError: there are too many (``undecodable``).
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
        raise AudioError("undecodable", f"The file is joined of more than {MOST_LINKS:,} others; send the parts.")
    starts.append(at)


def _ogg_links(file: Source) -> list[int]:
    """Where a stream begins after others have: all that are heard together begin before any of them goes on."""
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
    """Where the sound of a FLAC file begins; a picture before it may contain anything."""
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
    """Where the first of ``marks`` is from ``at`` on; ``size`` where none is."""
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
