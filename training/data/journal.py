"""The shards while they are written, and the journal that says which part of them is complete.

A file's samples go to disk before its line in the journal, so every entry's samples are there. Data after the last
whole line, in the shards or in the journal, were being written when the process was killed, and are cut off.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from whispergpt.training.data.manifest import SAMPLE_BYTES, Grouping, Split, shard_name, sync_folder

if sys.platform != "win32":
    import fcntl

JOURNAL = "journal.jsonl"

_T = TypeVar("_T")


class Source(msgspec.Struct, frozen=True):
    """A source file; one that differs in any field is another source.

    ``group`` is empty where the file is missing from the data set's table; ``own_split`` is its side in that table.
    """

    path: str
    size: int
    mtime_ns: int
    group: str
    own_split: Split | None = None


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Result for one source: a place in a shard, or the reason why it is in none."""

    source: Source
    sha256: str = ""
    shard: int = 0
    start: int = 0
    samples: int = 0
    skipped: str = ""


class Header(msgspec.Struct, frozen=True):
    """Settings that the shards depend on, besides the sources."""

    version: int
    folders: list[str]
    groupings: list[Grouping]
    shard_samples: int


class Journal:
    """The journal and shards of ``folder``, open for appending; ``entries`` are the finished sources.

    Raises:
        ValueError: the folder belongs to another preparation, or one is running there.
    """

    def __init__(self, folder: Path, header: Header, sources: list[Source]) -> None:
        self.folder, self.header = folder, header
        self.entries: list[Entry] = []
        self._shard: tuple[int, BinaryIO] | None = None
        # Not opened in append mode, since a torn end must be overwritten.
        self._file: BinaryIO = os.fdopen(os.open(folder / JOURNAL, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        try:
            self._lock()
            self._recover(sources)
        except BaseException:
            self._file.close()
            raise

    def append(self, source: Source, sha256: str, samples: npt.NDArray[np.int16]) -> None:
        """Add a file's samples int16 ``[n]``; samples and entry are on disk when this returns."""
        shard, start = self._end()
        if start and start + len(samples) > self.header.shard_samples:
            shard, start = shard + 1, 0
        file = self._open_shard(shard)
        _write(file, samples.astype("<i2", copy=False).tobytes())
        self._add(Entry(source, sha256, shard, start, len(samples)))

    def skip(self, source: Source, reason: str) -> None:
        """Note why a file is left out."""
        self._add(Entry(source, skipped=reason))

    def close(self) -> None:
        """Close the files, and let another process prepare the folder."""
        self._file.close()
        if self._shard:
            self._shard[1].close()

    def _add(self, entry: Entry) -> None:
        _write(self._file, msgspec.json.encode(entry) + b"\n")
        self.entries.append(entry)

    def _end(self) -> tuple[int, int]:
        """Return the number of the last shard and its length in samples."""
        last = next((entry for entry in reversed(self.entries) if not entry.skipped), None)
        return (last.shard, last.start + last.samples) if last else (0, 0)

    def _open_shard(self, index: int) -> BinaryIO:
        if self._shard and self._shard[0] == index:
            return self._shard[1]
        if self._shard:
            self._shard[1].close()
        self._shard = (index, (self.folder / shard_name(index)).open("ab", buffering=0))
        sync_folder(self.folder)
        return self._shard[1]

    def _lock(self) -> None:
        if sys.platform != "win32":
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another process is preparing {self.folder}") from None

    def _recover(self, sources: list[Source]) -> None:
        """Keep the entries that agree with the sources and the shards; cut off everything else."""
        lines = self._file.read().splitlines(keepends=True)
        written = _decode(lines[0], Header) if lines else None
        if written is not None:
            check_header(self.folder, written, self.header)
        elif len(lines) > 1:
            raise ValueError(f"{self.folder / JOURNAL} is damaged: remove the folder and prepare the data again")
        else:
            lines = [msgspec.json.encode(self.header) + b"\n"]
            self._file.seek(0)
            self._file.truncate()
            _write(self._file, lines[0])
            sync_folder(self.folder)
        kept = len(lines[0])
        sizes: dict[int, int] = {}
        for line, source in zip(lines[1:], sources, strict=False):
            entry = _decode(line, Entry)
            if entry is None or entry.source != source:
                break
            if not entry.skipped:
                if entry.shard not in sizes:
                    sizes[entry.shard] = _size(self.folder / shard_name(entry.shard))
                if (entry.start + entry.samples) * SAMPLE_BYTES > sizes[entry.shard]:
                    break
            self.entries.append(entry)
            kept += len(line)
        self._file.truncate(kept)
        self._file.seek(kept)
        os.fsync(self._file.fileno())
        self._cut_shards()

    def _cut_shards(self) -> None:
        shard, end = self._end()
        for path in self.folder.glob("shard-*.i16"):
            if path.name > shard_name(shard) or not end:
                path.unlink()
        if end:
            os.truncate(self.folder / shard_name(shard), end * SAMPLE_BYTES)


def read_journal(folder: Path) -> tuple[Header, list[Entry]] | None:
    """Return the header and entries of a finished preparation; None where the journal is missing or damaged."""
    try:
        lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    header = _decode(lines[0], Header) if lines else None
    entries = [entry for line in lines[1:] if (entry := _decode(line, Entry))]
    return (header, entries) if header and len(entries) == len(lines) - 1 else None


def check_header(folder: Path, written: Header, wanted: Header) -> None:
    """Raise ValueError where ``folder`` belongs to another preparation."""
    if written.folders != wanted.folders:
        raise ValueError(
            f"{folder} holds what was prepared from {', '.join(written.folders)}: choose another folder with -o"
        )
    if written.groupings != wanted.groupings:
        raise ValueError(f"{folder} was grouped by {', '.join(written.groupings)}: choose another folder with -o")
    if written != wanted:
        raise ValueError(f"{folder} was written by another version of this command: choose another folder with -o")


def _decode(line: bytes, kind: type[_T]) -> _T | None:
    """Decode one whole line of the journal; return None for a torn one."""
    try:
        return msgspec.json.decode(line, type=kind) if line.endswith(b"\n") else None
    except msgspec.DecodeError:
        return None


def _write(file: BinaryIO, data: bytes) -> None:
    """Write all of ``data`` and wait until it is on disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
