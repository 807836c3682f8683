"""Recordings that models are evaluated on, one at a time, each with its speaker or work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from whispergpt.engine.audio.audio_file import AudioError, Samples, read_audio
from whispergpt.engine.config import HOP
from whispergpt.training.data.datasets import find_audio, load_prepared
from whispergpt.training.data.grouping import GroupBy, lay_out
from whispergpt.training.data.journal import JOURNAL
from whispergpt.training.data.manifest import MANIFEST, read_manifest

FEWEST_FRAMES = 8


class Recordings:
    """Audio files under ``folder``, or the held-out clips of a folder that ``whispergpt train prepare`` wrote.

    Args:
        group_by: the unit that is resampled for intervals, as in ``whispergpt train prepare``.

    Attributes:
        grouping: how the recordings are grouped.
        skipped: files that could not be used, and the reasons.

    Raises:
        ValueError: the folder is missing, or is a prepared one that is damaged or grouped in another way.
    """

    def __init__(self, folder: Path, group_by: GroupBy = "auto") -> None:
        if not folder.is_dir():
            raise ValueError(f"There is no folder {folder}.")
        self._folder = folder
        self.skipped: list[dict[str, str]] = []
        prepared = (folder / MANIFEST).is_file() or (folder / JOURNAL).is_file()
        self._all = self._heldout(group_by) if prepared else self._files(group_by)

    def _files(self, group_by: GroupBy) -> list[tuple[str, str, Callable[[], Samples]]]:
        files = find_audio(self._folder)
        within = [path.relative_to(self._folder) for path in files]
        layout = lay_out(self._folder, within, group_by)
        self.grouping: str = layout.grouping
        # A file that is missing from the data set's table is a group of its own.
        return [
            (str(path), layout.groups.get(file, str(file)), partial(read_audio, path, max_seconds=None))
            for path, file in zip(files, within, strict=True)
        ]

    def _heldout(self, group_by: GroupBy) -> list[tuple[str, str, Callable[[], Samples]]]:
        held = load_prepared([self._folder]).heldout
        self.grouping = ", ".join(sorted({source.grouping for source in read_manifest(self._folder).folders}))
        if group_by not in ("auto", self.grouping):
            raise ValueError(f"{self._folder} was prepared by {self.grouping}, and cannot be grouped by {group_by}")
        return [(clip.path, clip.group, partial(held.samples, clip)) for clip in held.clips]

    def read(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each recording's group and audio ``[n]`` at 24 kHz, with progress on a terminal.

        Raises:
            ValueError: no recording can be used.
        """
        used = False
        for name, group, samples in tqdm(self._all, unit="file", disable=None, leave=False):
            try:
                audio = torch.from_numpy(samples())
            except AudioError as error:
                self.skipped.append({"file": name, "why": str(error)})
                continue
            if len(audio) < FEWEST_FRAMES * HOP:
                self.skipped.append({"file": name, "why": "The file is shorter than eight frames."})
                continue
            used = True
            yield group, audio
        if not used:
            raise ValueError(f"{self._folder} has no audio that can be scored")
