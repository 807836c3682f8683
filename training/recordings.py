"""A folder's recordings one after the other, each with the speaker or work that it is of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from engine.audio_file import AudioError, read_audio
from engine.config import HOP
from training.datasets import find_audio
from training.grouping import GroupBy, lay_out

FEWEST_FRAMES = 8


class Recordings:
    """Every file under ``folder``.

    Args:
        group_by: what is independent of one another, as ``whispergpt train prepare`` splits.

    Attributes:
        grouping: how they are grouped.
        skipped: files that could not be used, and why.
    """

    def __init__(self, folder: Path, group_by: GroupBy = "auto") -> None:
        self._folder, self._files = folder, find_audio(folder)
        layout = lay_out(folder, [path.relative_to(folder) for path in self._files], group_by)
        self._groups, self.grouping = layout.groups, layout.grouping
        self.skipped: list[dict[str, str]] = []

    def read(self, progress: Iterable[Path] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Group and audio ``[n]`` at 24 kHz of each.

        Args:
            progress: the files, wrapped to show how far it is.

        Raises:
            ValueError: none of them can be used.
        """
        used = False
        for path in progress or self._files:
            try:
                audio = torch.from_numpy(read_audio(path, max_seconds=None))
            except AudioError as error:
                self.skipped.append({"file": str(path), "why": str(error)})
                continue
            if len(audio) < FEWEST_FRAMES * HOP:
                self.skipped.append({"file": str(path), "why": "The file is shorter than eight frames."})
                continue
            used = True
            file = path.relative_to(self._folder)
            yield (
                self._groups.get(file, str(file)),
                audio,
            )  # one that the data set's table does not know is its own group
        if not used:
            raise ValueError(f"{self._folder} has no audio that can be scored")
