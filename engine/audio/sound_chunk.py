"""The size of the sound that a wav or aiff file claims; decoders do not say when a part of it is missing."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal

STREAMED_BYTES = 2_000_000_000
"""Bytes from which on a size means unknown, as 0 does: ffmpeg, sox and arecord write these into a pipe."""
MOST_CHUNKS = 1000
_FILE, _CHUNK, _SIZES = 12, 8, 16
_SLIPS = 64
"""Bytes by which a size may be wrong: some programs count a header, or a byte that makes the size even."""
_KINDS: dict[bytes, tuple[Literal["wav", "aiff"], str, bytes]] = {
    # first bytes: kind of file, byte order, name of the chunk with the sound
    b"RIFF": ("wav", "<", b"data"),
    b"RIFX": ("wav", ">", b"data"),
    b"RF64": ("wav", "<", b"data"),
    b"FORM": ("aiff", ">", b"SSND"),
}


@dataclass(frozen=True)
class SoundChunk:
    """The chunk of a file that has its sound.

    Attributes:
        coding: a wav's number for the coding of its samples; None if it has none.
        claimed: bytes, according to the chunk's header.
        there: bytes between the chunk's header and the file's end.
        closed: whether the chunk is empty and another one follows; else a size of 0 may mean that it was never set.
    """

    kind: Literal["wav", "aiff"]
    coding: int | None
    claimed: int
    there: int
    closed: bool = False

    @property
    def open_ended(self) -> bool:
        """Whether the size was unknown when the header was written."""
        return self.claimed >= STREAMED_BYTES or (self.claimed == 0 < self.there and not self.closed)

    @property
    def breaks_off(self) -> bool:
        """Whether there are fewer bytes than the header claims."""
        return not self.open_ended and self.claimed - self.there > _SLIPS


def find_sound(file: BinaryIO) -> SoundChunk | None:
    """Return the sound chunk of a wav or aiff, or None; the file is left at its beginning."""
    end = file.seek(0, io.SEEK_END)
    try:
        return _find(file, end)
    finally:
        file.seek(0)


def _find(file: BinaryIO, end: int) -> SoundChunk | None:
    file.seek(0)
    head = file.read(_FILE)
    if head[:4] not in _KINDS or head[8:] not in (b"WAVE", b"AIFF", b"AIFC"):
        return None
    kind, order, wanted = _KINDS[head[:4]]
    coding, long_size, at = None, 0, _FILE
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        header = file.read(_CHUNK)
        if len(header) < _CHUNK:
            break
        name, size = struct.unpack(f"{order}4sI", header)
        inside = file.read(_SIZES)
        if name == wanted:
            if head[:4] == b"RF64" and size == 0xFFFFFFFF:
                size = long_size
            following = inside[:4]
            closed = size == 0 and following.isascii() and following.isalpha()
            return SoundChunk(kind, coding, size, end - at - _CHUNK, closed)
        if name == b"fmt " and len(inside) >= 2:
            (coding,) = struct.unpack_from(f"{order}H", inside)
        elif name == b"ds64" and len(inside) == _SIZES:
            _, long_size = struct.unpack(f"{order}QQ", inside)
        at += _CHUNK + size + size % 2
    return None
