"""Recordings to measure: files of audio folders, or held-out clips of prepared ones, read one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from whispergpt.engine.audio.audio_file import AudioError, Samples, read_audio
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.data.datasets import find_audio, load_prepared
from whispergpt.training.data.grouping import folder_name, label, lay_out
from whispergpt.training.data.journal import JOURNAL
from whispergpt.training.data.manifest import MANIFEST
from whispergpt.training.measures.figures.transcripts import find_transcripts


@dataclass(frozen=True)
class Recording:
    """A file or clip. ``group`` is its speaker or work; ``text`` its transcript, if a table has one."""

    name: str
    group: str
    read: Callable[[], Samples]
    text: str | None = None


@dataclass
class Recordings:
    """Recordings in an order that depends on their names alone, and those that could not be used."""

    all: list[Recording]
    skipped: list[dict[str, str]] = field(default_factory=list)

    def skip(self, recording: Recording, why: str) -> None:
        """Add a recording to the skipped ones, with the reason."""
        if all(entry["file"] != recording.name for entry in self.skipped):
            self.skipped.append({"file": recording.name, "why": why})

    def read(self, least_seconds: float, what: str, again: bool = False) -> Iterator[tuple[Recording, Samples]]:
        """Yield each recording with its samples ``[n]`` at 24 kHz; unreadable and short ones are skipped.

        ``what`` is the progress bar's title. ``again``: recordings are read once more, for later parts; those too short
        for them have been used already and are not listed as skipped.
        """
        for recording in tqdm(self.all, desc=what, unit="file", disable=None, leave=False):
            try:
                samples = recording.read()
            except AudioError as error:
                self.skip(recording, str(error))
                continue
            if len(samples) < least_seconds * SAMPLE_RATE:
                if not again:
                    self.skip(recording, f"It has {len(samples) / SAMPLE_RATE:.2f} s; {least_seconds:g} s are needed.")
                continue
            yield recording, samples


def find_recordings(paths: list[Path]) -> Recordings:
    """Return single files, files under folders of audio, and the held-out clips of prepared folders.

    Raises:
        ValueError: a path is missing, holds no audio, or is a prepared folder that cannot be used.
    """
    found: list[Recording] = []
    for path in paths:
        if path.is_file():
            found.append(Recording(label(str(path)), label(path.name), lambda path=path: read_audio(path, None)))  # type: ignore[misc]
        elif not path.is_dir():
            raise ValueError(f"There is no file or folder {path}.")
        elif (path / MANIFEST).is_file() or (path / JOURNAL).is_file():
            found += _of_prepared(path)
        else:
            found += _of_folder(path)
    # In the order of a hash: the first N are a fair sample, which does not depend on the folders' place on the disk.
    return Recordings(sorted(found, key=lambda one: hashlib.sha256(one.name.encode()).hexdigest()))


def _of_folder(folder: Path) -> list[Recording]:
    files = find_audio(folder)
    if not files:
        raise ValueError(f"{folder} has no audio in it.")
    within = [path.relative_to(folder) for path in files]
    groups = lay_out(folder, within, "auto").groups
    texts = find_transcripts(folder, files)
    root = folder_name(folder)
    return [
        Recording(
            f"{root}/{label(short.as_posix())}",
            groups.get(short, root),
            lambda path=path: read_audio(path, None),  # type: ignore[misc]
            texts.get(path),
        )
        for path, short in zip(files, within, strict=True)
    ]


def _of_prepared(folder: Path) -> list[Recording]:
    held = load_prepared([folder]).heldout
    return [Recording(clip.path, clip.group, lambda clip=clip: held.samples(clip)) for clip in held.clips]  # type: ignore[misc]
