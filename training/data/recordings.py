"""Recordings to evaluate and measure: audio files, or held-out clips of prepared folders, read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from whispergpt.engine.audio.audio_file import AudioError, Samples, read_audio
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.data.datasets import find_audio, load_prepared
from whispergpt.training.data.grouping import GroupBy, folder_name, label, lay_out
from whispergpt.training.data.journal import JOURNAL
from whispergpt.training.data.manifest import MANIFEST, read_manifest


@dataclass(frozen=True)
class Recording:
    """A file or clip. ``group`` is its speaker or work; ``text`` its transcript, if a table has one."""

    name: str
    group: str
    read: Callable[[], Samples]
    path: Path | None = None
    text: str | None = None


@dataclass
class Recordings:
    """Recordings, how they are grouped, and those that could not be used, with the reasons."""

    all: list[Recording]
    grouping: str = "file"
    skipped: list[dict[str, str]] = field(default_factory=list)

    def skip(self, recording: Recording, why: str) -> None:
        """Add a recording to the skipped ones, with the reason."""
        if all(entry["file"] != recording.name for entry in self.skipped):
            self.skipped.append({"file": recording.name, "why": why})

    def read(
        self, least_seconds: float, what: str | None = None, again: bool = False
    ) -> Iterator[tuple[Recording, Samples]]:
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


def recordings_in(folder: Path, group_by: GroupBy = "auto") -> Recordings:
    """Return the audio files under ``folder``, or the held-out clips of a folder that ``train prepare`` wrote.

    A file that is missing from the data set's table is a group of its own.

    Raises:
        ValueError: the folder is missing, holds no audio, or is a prepared one that is damaged or grouped in another
            way.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}{': it is a file' if folder.exists() else ''}.")
    if (folder / MANIFEST).is_file() or (folder / JOURNAL).is_file():
        held = load_prepared([folder]).heldout
        grouping = ", ".join(sorted({source.grouping for source in read_manifest(folder).folders}))
        if group_by not in ("auto", grouping):
            raise ValueError(f"{folder} was prepared by {grouping}, and cannot be grouped by {group_by}")
        return Recordings([Recording(c.path, c.group, partial(held.samples, c)) for c in held.clips], grouping)
    within = [path.relative_to(folder) for path in find_audio(folder)]
    if not within:
        raise ValueError(f"{folder} has no audio in it.")
    layout = lay_out(folder, within, group_by)
    found = []
    for file in within:
        name = f"{folder_name(folder)}/{label(file.as_posix())}"
        read = partial(read_audio, folder / file, max_seconds=None)
        found.append(Recording(name, layout.groups.get(file, name), read, folder / file))
    return Recordings(found, layout.grouping)
