"""API keys: made here, given to their holder once, kept as hashes in a file that takes effect when it is saved."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

import msgspec

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
PREFIX = "wgpt_"
_SECRET_BYTES = 32


class KeyFileError(ValueError):
    """A file of keys that cannot be used; the message is written for the operator."""


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key as the file has it: ``sha256`` of it in hex, and bounds, None where there are none.

    A plain hash is enough: a key is 256 random bits, which no dictionary has.
    """

    name: str
    sha256: str
    streams: int | None = None
    audio_seconds_a_minute: float | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    key: list[ApiKey] = []


def make_key() -> str:
    """Return a new key."""
    return PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def digest_of(key: str) -> str:
    """Return the digest that is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> dict[str, ApiKey]:
    """Return the keys of a file by their digests.

    Raises:
        KeyFileError: it cannot be read, or is not a list of keys; the message says where.
    """
    try:
        keys = msgspec.toml.decode(path.read_bytes(), type=_File).key
    except OSError as error:
        remedy = (
            f"; `whispergpt keys make NAME --file {path}` makes one" if isinstance(error, FileNotFoundError) else ""
        )
        raise KeyFileError(f"{path}: {error.strerror}{remedy}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise KeyFileError(f"{path} is not a file of keys: {error}") from None
    for key in keys:
        _check(path, key)
    if len({key.name for key in keys}) < len(keys) or len({key.sha256 for key in keys}) < len(keys):
        raise KeyFileError(f"{path} has a key or a name twice")
    return {key.sha256: key for key in keys}


def add_key(path: Path, name: str, streams: int | None, audio_seconds_a_minute: float | None) -> str:
    """Make a key, append its hash to the file at ``path``, and return the key, which is kept nowhere.

    Raises:
        KeyFileError: the name is taken or cannot be one, or the file cannot be used.
    """
    known = read_keys(path) if path.exists() else {}
    if any(key.name == name for key in known.values()):
        raise KeyFileError(
            f"{path} has a key named {name!r} already; choose another name, or delete its lines in the file"
        )
    secret = make_key()
    made = ApiKey(name, digest_of(secret), streams, audio_seconds_a_minute)
    _check(path, made)
    lines = ["[[key]]", f'name = "{made.name}"', f'sha256 = "{made.sha256}"']
    if streams is not None:
        lines.append(f"streams = {streams}")
    if audio_seconds_a_minute is not None:
        lines.append(f"audio_seconds_a_minute = {audio_seconds_a_minute:g}")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as file:
            file.write("\n" * bool(known) + "\n".join(lines) + "\n")
    except OSError as error:
        reason = error.strerror if path.parent.is_dir() else f"{path.parent} is not a folder"
        raise KeyFileError(f"{path}: {reason}") from None
    return secret


def _check(path: Path, key: ApiKey) -> None:
    if not _NAME.fullmatch(key.name):
        raise KeyFileError(f"{path}: {key.name!r} is no name for a key; use up to 64 letters, digits, '.', '_' and '-'")
    if not _DIGEST.fullmatch(key.sha256):
        raise KeyFileError(f"{path}: sha256 of {key.name!r} is not 64 hex digits")
    if key.streams is not None and key.streams < 1:
        raise KeyFileError(f"{path}: streams of {key.name!r} must be at least 1")
    if key.audio_seconds_a_minute is not None and not 1 <= key.audio_seconds_a_minute <= 1e9:
        raise KeyFileError(f"{path}: audio_seconds_a_minute of {key.name!r} must be from 1 to 1000000000")
