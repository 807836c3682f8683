"""The manifest of a prepared folder: each clip's place, source and side of the split."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec
from tqdm import tqdm

from whispergpt.engine.backends.processors import usable_processors
from whispergpt.engine.config import HOP, SAMPLE_RATE
from whispergpt.engine.whole_file import whole_file

MANIFEST = "manifest.json"
FORMAT = "whispergpt-audio"
VERSION = 1
SAMPLE_BYTES = 2
MOST_WORKERS = 8
"""Most threads that read files; more would only wait for the disk."""

Split = Literal["train", "heldout"]
Grouping = Literal["speaker", "folder", "file", "maestro"]


class ManifestError(ValueError):
    """A prepared folder that cannot be used; the message is written for the user."""


class Folder(msgspec.Struct, frozen=True):
    """A source folder, and how its files are grouped."""

    name: str
    grouping: Grouping


class Heldout(msgspec.Struct, frozen=True):
    """Number of groups asked for (None: the default share), and the groups that are held out."""

    asked: int | None
    rule: str
    groups: list[str]


class Shard(msgspec.Struct, frozen=True):
    """File of int16 samples, little-endian, mono, at 24 kHz."""

    file: str
    samples: int
    sha256: str


class Clip(msgspec.Struct, frozen=True):
    """Place of a source file's samples.

    ``path`` is relative to its folder and starts with the folder's name; ``sha256`` is of the source file. ``start``
    and ``samples`` count samples of the shard; ``samples`` is a multiple of 320. ``group`` is the speaker or
    work, which training and held-out clips must not share.
    """

    path: str
    sha256: str
    group: str
    split: Split
    shard: int
    start: int
    samples: int


class Skipped(msgspec.Struct, frozen=True):
    """A file that is not in the shards, and the reason."""

    path: str
    reason: str


class Manifest(msgspec.Struct, frozen=True):
    """Contents of a prepared folder. They depend on the sources alone, not on the time or the machine."""

    format: str
    version: int
    sample_rate: int
    folders: list[Folder]
    heldout: Heldout
    shards: list[Shard]
    clips: list[Clip]
    skipped: list[Skipped]

    @property
    def seconds(self) -> float:
        return sum(clip.samples for clip in self.clips) / self.sample_rate


class _Head(msgspec.Struct):
    """Format and version, which decide whether the rest can be read."""

    format: str = ""
    version: int = 0


def shard_name(index: int) -> str:
    """Return the file name of shard ``index``."""
    return f"shard-{index:04d}.i16"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` atomically."""
    with whole_file(folder / MANIFEST) as whole, whole.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Flush new and renamed file names in ``folder`` to disk."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json`` and the sizes of the shards beside it.

    Raises:
        ManifestError: the manifest is of another format, damaged, or does not fit its shards.
    """
    path = folder / MANIFEST
    text = path.read_bytes()
    try:
        head = msgspec.json.decode(text, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ManifestError(f"{path} is damaged: it is not a JSON object of a manifest") from None
    if head.format != FORMAT:
        raise ManifestError(f"{path} is not a manifest that `whispergpt train prepare` wrote")
    if head.version != VERSION:
        raise ManifestError(
            f"{path} has version {head.version} of the format and version {VERSION} is read: prepare the data again"
        )
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is damaged: {error}") from None
    _check(folder, manifest)
    return manifest


def _check(folder: Path, manifest: Manifest) -> None:
    path = folder / MANIFEST
    if manifest.sample_rate != SAMPLE_RATE:
        raise ManifestError(f"{path} is of audio at {manifest.sample_rate} Hz and {SAMPLE_RATE} Hz is needed")
    for index, shard in enumerate(manifest.shards):
        if shard.file != shard_name(index):
            raise ManifestError(f"{path} is damaged: it calls shard {index} {shard.file!r}")
        file = folder / shard.file
        if not file.is_file():
            raise ManifestError(f"{file} is missing: prepare the data again")
        size = file.stat().st_size
        if size != shard.samples * SAMPLE_BYTES:
            raise ManifestError(
                f"{file} has {size} bytes and its manifest says {shard.samples * SAMPLE_BYTES}: prepare the data again"
            )
    for clip in manifest.clips:
        room = manifest.shards[clip.shard].samples if 0 <= clip.shard < len(manifest.shards) else 0
        if clip.samples % HOP or not 0 <= clip.start < clip.start + clip.samples <= room:
            raise ManifestError(f"{path} is damaged: {clip.path} is nowhere in the shards")


def verify_shards(folder: Path, manifest: Manifest) -> None:
    """Hash every shard.

    Raises:
        ManifestError: a shard has changed since the manifest was written.
    """
    found = hash_shards(folder, len(manifest.shards))
    for shard, sha256 in zip(manifest.shards, found, strict=True):
        if shard.sha256 != sha256:
            raise ManifestError(
                f"{folder / shard.file} has changed since it was written (its SHA-256 is not the manifest's): "
                "prepare the data again"
            )


def hash_shards(folder: Path, count: int) -> list[str]:
    """Return the SHA-256 of each of the first ``count`` shards."""
    files = [folder / shard_name(index) for index in range(count)]
    with ThreadPoolExecutor(min(MOST_WORKERS, usable_processors())) as pool:
        hashes = pool.map(hash_file, files)
        return list(tqdm(hashes, total=count, desc="hash shards", unit="shard", leave=False, disable=None))


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
