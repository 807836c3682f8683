"""Digests of a model's files, and their check: by ``manifest.json``, else by what the hub says of each file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from whispergpt.engine.checkpoints.hub_errors import HubError

MANIFEST = "manifest.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Manifest(msgspec.Struct):
    """Content of ``manifest.json``: the SHA-256 of each file, in hex, by the file's name."""

    sha256: dict[str, str]


def manifest_of(files: Mapping[str, Path | bytes]) -> bytes:
    """Return the manifest of files, each given by its path or its content, as JSON."""
    return msgspec.json.format(msgspec.json.encode(Manifest({name: _digest(file) for name, file in files.items()})))


def check_digests(what: str, files: Mapping[str, Path]) -> list[str]:
    """Compare files in the hub's cache with their digests; ``what`` names the model in messages.

    Without a manifest, a file's digest is the name of the blob that its link in the cache leads to: for large files
    the hub gives the SHA-256 as the entity tag, and the cache names blobs by that.

    Returns:
        Names of the files that nothing gives a digest of.

    Raises:
        HubError: a file differs, or the manifest cannot be read or does not list one of these files.
    """
    rest = {name: path for name, path in files.items() if name != MANIFEST}
    listed = _read(what, files[MANIFEST]) if MANIFEST in files else None
    if listed is not None and (odd := sorted(rest.keys() - listed.keys())):
        raise HubError(f"{what}: {MANIFEST} does not list {odd[0]}; its owner must push the model again.")
    unchecked = []
    for name, path in rest.items():
        expected = listed[name] if listed is not None else _told_by_cache(path)
        if expected is None:
            unchecked.append(name)
        elif (found := _digest(path)) != expected:
            raise HubError(
                f"{what}: {name} is damaged, its SHA-256 is {found[:12]}… and should be {expected[:12]}…; delete "
                f"{path.resolve()} to fetch it anew."
            )
    return unchecked


def _read(what: str, path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest).sha256
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HubError(f"{what}: {MANIFEST} is not a list of digests: {error}.") from None


def _told_by_cache(path: Path) -> str | None:
    """Return the SHA-256 that the hub gave; None where the tag is another digest or the cache has no links."""
    tag = path.readlink().name if path.is_symlink() else ""
    return tag if _SHA256.fullmatch(tag) else None


def _digest(file: Path | bytes) -> str:
    if isinstance(file, bytes):
        return hashlib.sha256(file).hexdigest()
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
