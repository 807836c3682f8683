"""Helpers that subcommands share: checks of arguments, one-line errors, and audio files."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import typer

from whispergpt.engine.audio.audio_file import AudioError
from whispergpt.engine.checkpoints.checkpoint import ModelError
from whispergpt.engine.checkpoints.installed import default_models
from whispergpt.engine.device import DeviceError
from whispergpt.engine.engine import Engine
from whispergpt.engine.extras import require_package
from whispergpt.engine.whole_file import whole_file
from whispergpt.server.audio.encoders import Format, encode
from whispergpt.server.audio.provenance import Provenance
from whispergpt.server.errors import ApiError

WRITABLE: dict[str, Format] = {".wav": "wav", ".flac": "flac", ".ogg": "opus", ".opus": "opus", ".mp3": "mp3"}
"""Formats by the ending of their files."""
_ADDRESS = re.compile("(https?|ftp|s3):/")
STANDARD = Path("-")
"""Name of standard input or output."""
SHOWN_SKIPPED = 5
"""Skipped files that are named one by one."""


def require_matplotlib(what: str) -> None:
    """Check that matplotlib is installed; ``what`` names the option that needs it.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    require_package("matplotlib", what, "plot")


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn errors with messages for users into a wrong argument: one line on stderr, exit status 2."""
    try:
        yield
    except (AudioError, ModelError, DeviceError, ApiError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    except OSError as error:
        raise typer.BadParameter(f"{error.filename or 'a file'}: {error.strerror}") from None


@contextmanager
def named(recording: Path) -> Iterator[None]:
    """Put a recording's name in front of what is wrong with its audio. Raises ValueError instead of AudioError."""
    try:
        yield
    except AudioError as error:
        name = "standard input" if recording == STANDARD else recording
        raise ValueError(f"{name}: {error}") from None


def check_finite(**options: float | None) -> None:
    """Check that options are finite numbers; the arguments are named as the options.

    Raises:
        ValueError: one is nan, inf or -inf.
    """
    for name, value in options.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"--{name.replace('_', '-')} must be a finite number, not {value}.")


def counted(number: int, what: str) -> str:
    """Return a number with its noun: ``1 file``, ``2 files``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def tell_skipped(skipped: Sequence[tuple[str, str]], rest: str = "") -> None:
    """Write to stderr the first skipped files with their reasons, and the number of the others; ``rest`` follows it."""
    for file, reason in skipped[:SHOWN_SKIPPED]:
        typer.echo(f"skipped {file}: {reason}", err=True)
    if len(skipped) > SHOWN_SKIPPED:
        typer.echo(f"… and {len(skipped) - SHOWN_SKIPPED} more{rest}", err=True)


def default_model() -> str:
    """Return the model used when none is named.

    Raises:
        ModelError: no model is installed.
    """
    models = default_models()
    if not models:
        raise ModelError("No model is installed; name one with --model.")
    return models[0]


def tell_if_slow(engine: Engine) -> None:
    """Write to stderr why an engine runs slower than it could, if it does."""
    if engine.path.slow_because:
        typer.echo(f"Slower than it could be: {engine.path.slow_because}.", err=True)


def audio_source(path: Path) -> bytes | Path:
    """Return the source for ``read_audio``: the path, or the bytes of a pipe and, for ``-``, of standard input.

    Raises:
        ValueError: there is no such file.
    """
    if path == STANDARD:
        return sys.stdin.buffer.read()
    require_file(path)
    return path if path.is_file() else path.read_bytes()


def require_file(path: Path, what: str = "file") -> None:
    """Check that something at a path can be read as a file. Raises ValueError that says what is there instead.

    Args:
        what: what may be there, as the sentence has it.
    """
    if path.is_dir():
        raise ValueError(f"There is no file {path}: it is a folder.")
    if not path.exists():
        address = "; download it, or pipe it: curl ADDRESS | whispergpt … -" if _ADDRESS.match(str(path)) else ""
        raise ValueError(f"There is no {what} {path}{address}.")


def check_output(path: Path, endings: Collection[str] = WRITABLE.keys(), source: Path | None = None) -> None:
    """Check, before any work, that an output file can be written.

    Args:
        source: recording that the output must not replace.

    Raises:
        ValueError: its ending is no known format, its folder is missing, it is a folder itself, or it is the source.
    """
    if path.suffix.lower() not in endings:
        raise ValueError(f"{path} does not end in one of {', '.join(endings)}")
    if not path.resolve().parent.is_dir():
        raise ValueError(f"{path.parent} is not a folder")
    if path.is_dir():
        raise ValueError(f"{path} is a folder")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise ValueError(f"{path} is the recording itself, which would be lost: name another file with -o.")


def write_audio(path: Path, pcm: npt.NDArray[np.int16], made: Provenance | None = None) -> None:
    """Write samples int16 ``[n]`` at 24 kHz in the format of the file's ending, with their provenance as tags.

    Raises:
        OSError: the file cannot be written.
    """
    write_output(path, encode(WRITABLE[path.suffix.lower()], pcm.astype("<i2", copy=False).tobytes(), made))


def write_output(path: Path, body: bytes) -> None:
    """Write a file whole, or to what is there instead, such as a pipe. Raises OSError, which names it."""
    target = path.resolve()
    if target.is_file() or not target.exists():
        with whole_file(target) as whole:
            whole.write_bytes(body)
        return
    try:
        target.write_bytes(body)
    except OSError as error:
        error.filename = str(path)
        raise
