"""Output of a recipe: audio files, written atomically, and a table that lists them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import typer

from whispergpt.engine.whole_file import whole_file

Samples = npt.NDArray[np.float32]


def write_flac(path: Path, samples: Samples | npt.NDArray[np.int16], rate: int) -> float:
    """Write mono samples ``[n]``, in -1…1 or int16, atomically as 16-bit flac; return seconds."""
    with whole_file(path) as whole:
        soundfile.write(whole, samples, rate, format="FLAC", subtype="PCM_16")
    return len(samples) / rate


def whole_seconds(path: Path) -> float | None:
    """Return the seconds of an audio file, or None where it is missing or cut short."""
    if not path.is_file():
        return None
    try:
        with soundfile.SoundFile(path) as audio:
            if audio.frames < 1:
                return None
            audio.seek(audio.frames - 1)
            if len(audio.read(1)) < 1:
                return None
            return float(audio.frames) / float(audio.samplerate)
    except soundfile.LibsndfileError:
        return None


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write tab-separated values atomically. Tabs and line ends become spaces."""
    with whole_file(path) as whole, whole.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        table.writerow(header)
        table.writerows([" ".join(str(value).split()) for value in row] for row in rows)


def update_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Merge rows into a table, ordered by file name, and drop rows of files that no longer exist.

    The first column is a file, relative to the table's folder. A set can thus be made in several runs.
    """
    listed = {str(row[0]): [str(value) for value in row] for row in rows}
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            for row in list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]:
                if len(row) == len(header) and row[0] not in listed and (path.parent / row[0]).is_file():
                    listed[row[0]] = row
    write_table(path, header, (listed[name] for name in sorted(listed)))


def run(recipe: Callable[..., None]) -> None:
    """Run a recipe as a command: an error is one line on stderr and status 2."""
    try:
        typer.run(recipe)
    except (ValueError, OSError) as error:
        reason = f"{error.filename or 'a file'}: {error.strerror}" if isinstance(error, OSError) else error
        typer.echo(f"{recipe.__name__}: {reason}", err=True)
        sys.exit(2)
