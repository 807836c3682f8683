"""Helpers of several subcommands: loading by name with errors of one line, and writing audio."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import typer

from whispergpt.engine.audio.audio_file import AudioError
from whispergpt.engine.checkpoints.checkpoint import ModelError
from whispergpt.engine.checkpoints.installed import default_models
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.engine.engine import DeviceError
from whispergpt.engine.extras import require_package
from whispergpt.server.errors import ApiError

WRITABLE = {".wav": "PCM_16", ".flac": "PCM_16", ".ogg": "VORBIS", ".opus": "OPUS", ".mp3": "MPEG_LAYER_III"}


def require_matplotlib(what: str) -> None:
    """Check early that matplotlib is there for ``what``.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    require_package("matplotlib", what, "plot")


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn errors that are written for people into a wrong argument: one line, status 2."""
    try:
        yield
    except (AudioError, ModelError, DeviceError, ApiError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    except OSError as error:
        raise typer.BadParameter(f"{error.filename or 'a file'}: {error.strerror}") from None


def check_finite(**options: float | None) -> None:
    """Refuse what no bound is made for, by the name of the option.

    Raises:
        ValueError: one is nan, inf or -inf.
    """
    for name, value in options.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"--{name.replace('_', '-')} must be a finite number, not {value}.")


def counted(number: int, what: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def default_model() -> str:
    """The model used when none is named.

    Raises:
        ModelError: no model is installed.
    """
    models = default_models()
    if not models:
        raise ModelError("No model is installed; name one with --model.")
    return models[0]


def audio_source(path: Path) -> bytes | Path:
    """Return an argument as ``read_audio`` takes it: a path, or for ``-`` the bytes of standard input.

    Raises:
        ValueError: there is no such file.
    """
    if str(path) == "-":
        return sys.stdin.buffer.read()
    if not path.exists() or path.is_dir():
        raise ValueError(f"There is no file {path}.")
    return path


def check_output(path: Path, endings: Collection[str] = WRITABLE.keys()) -> None:
    """Refuse a file that could not be written before any work is done.

    Raises:
        ValueError: its ending is not a known format, its folder is missing, or it is one itself.
    """
    if path.suffix.lower() not in endings:
        raise ValueError(f"{path} does not end in one of {', '.join(endings)}")
    if not path.resolve().parent.is_dir():
        raise ValueError(f"{path.parent} is not a folder")
    if path.is_dir():
        raise ValueError(f"{path} is a folder")


def write_audio(path: Path, pcm: npt.NDArray[np.int16]) -> None:
    """Write samples int16 ``[n]`` at 24 kHz in the format of the file's ending.

    Raises:
        OSError: the file cannot be written.
    """
    ending = path.suffix.lower()
    encoded = io.BytesIO()  # the file is the system's to write: soundfile's errors say no more than "System error"
    kind = "OGG" if ending == ".opus" else ending[1:].upper()
    soundfile.write(encoded, pcm, SAMPLE_RATE, format=kind, subtype=WRITABLE[ending])
    path.write_bytes(encoded.getbuffer())
