"""Files to decode: bytes in memory, a path or a pipe, without a name and without a tag at the beginning."""

from __future__ import annotations

import io
from pathlib import Path

from whispergpt.engine.audio.limits import AudioError

_ID3 = 10
"""Bytes of an ID3v2 header, and of a footer."""
_MOST_TAGS = 16


class Bounded(io.BufferedIOBase):
    """A file in which a seek to before the beginning goes to the beginning instead of raising. A damaged header may
    cause one, and the decoder calls from C, which would write a stack trace to stderr and continue."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OSError):
            return super().seek(0)


class Memory(Bounded, io.BytesIO):
    """A file in memory."""


class Named(Bounded, io.BufferedReader):
    """An open file that keeps its name from the decoders, which would guess the format by the extension."""

    name = "audio"


class Section(io.RawIOBase):
    """The part of a file from ``start`` to ``end``; None: to the file's end."""

    def __init__(self, file: Source, start: int, end: int | None = None) -> None:
        super().__init__()
        self._file, self._start, self._at = file, start, 0
        self._size = max(0, (file.seek(0, io.SEEK_END) if end is None else end) - start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        count = min(len(buffer), max(0, self._size - self._at))
        self._file.seek(self._start + self._at)
        read = self._file.readinto(buffer[:count])
        self._at += read
        return read


Source = Memory | Named


def open_source(source: bytes | Path | Memory) -> Source:
    """Open a file for decoding. A file without seeking, such as a pipe, is read to its end.

    Raises:
        AudioError: the file cannot be opened (``not_audio``).
    """
    if isinstance(source, Memory):
        return source
    if isinstance(source, bytes):
        return Memory(source)
    try:
        raw = io.FileIO(source)
        if raw.seekable():
            return Named(raw)
        with raw:
            return Memory(raw.readall() or b"")
    except OSError as error:
        raise AudioError("not_audio", f"{source} cannot be opened: {error.strerror}.") from None


def part_of(file: Source, start: int, end: int | None = None) -> Source:
    """Return the part of a file from ``start`` to ``end`` as a file of its own."""
    return Named(Section(file, start, end))


def without_tags(file: Source) -> Source:
    """Return the part of the file behind its ID3v2 tags. Without tags, or before mp3, return the file itself: in an mp3
    the tag belongs to the format, and tells a damaged file from noise."""
    at = _end_of_tags(file)
    file.seek(at)
    begins = file.read(2)
    mp3 = len(begins) == 2 and begins[0] == 0xFF and begins[1] & 0xE0 == 0xE0 and begins[1] & 0x06
    return part_of(file, at) if at and begins and not mp3 else file


def _end_of_tags(file: Source) -> int:
    at = 0
    for _ in range(_MOST_TAGS):
        file.seek(at)
        header = file.read(_ID3)
        if len(header) < _ID3 or header[:3] != b"ID3" or max(header[6:]) > 127:
            break
        size = 0
        for seven_bits in header[6:]:
            size = size << 7 | seven_bits
        at += _ID3 + size + (_ID3 if header[5] & 0x10 else 0)
    return at
