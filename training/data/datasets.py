"""Prepared folders as training data: clips of memory-mapped shards, on two sides of a split."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.data.journal import JOURNAL
from whispergpt.training.data.manifest import (
    MANIFEST,
    Clip,
    Manifest,
    ManifestError,
    Split,
    read_manifest,
    verify_shards,
)

SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".webm"}


@dataclass(frozen=True)
class AudioSet:
    """Clips and the shards they lie in: int16 at 24 kHz, memory-mapped; ``clip.shard`` counts through ``shards``.

    ``folder_of``: for each shard, which of the folders given it is from.
    """

    clips: list[Clip]
    shards: list[npt.NDArray[np.int16]]
    folder_of: list[int]

    @property
    def seconds(self) -> float:
        return sum(c.samples for c in self.clips) / SAMPLE_RATE

    @property
    def train(self) -> AudioSet:
        """The clips to train on."""
        return self._side("train")

    @property
    def heldout(self) -> AudioSet:
        """The clips never to train on: no speaker or work of theirs is in ``train``."""
        return self._side("heldout")

    def samples(self, clip: Clip) -> npt.NDArray[np.float32]:
        """Samples ``[n]`` of one clip, float32 in -1…1."""
        return self.read(clip, 0, clip.samples)

    def read(self, clip: Clip, start: int, samples: int) -> npt.NDArray[np.float32]:
        """``samples`` samples of a clip from its ``start``-th on, float32 ``[samples]`` in -1…1.

        Raises:
            ValueError: the clip does not have them.
        """
        if not 0 <= start <= start + samples <= clip.samples:
            raise ValueError(f"{clip.path} has {clip.samples} samples, not {samples} from {start} on")
        first = clip.start + start
        return self.shards[clip.shard][first : first + samples].astype(np.float32) / 32768.0

    def _side(self, split: Split) -> AudioSet:
        return AudioSet([c for c in self.clips if c.split == split], self.shards, self.folder_of)


def load_prepared(folders: list[Path]) -> AudioSet:
    """Check and map what ``whispergpt train prepare`` wrote; the hash of every shard is checked too.

    Raises:
        ManifestError: a folder is missing, unfinished, of another format or damaged, or one folder holds out what
            another would train on.
    """
    clips: list[Clip] = []
    shards: list[npt.NDArray[np.int16]] = []
    folder_of: list[int] = []
    for index, folder in enumerate(folders):
        manifest = _read(folder)
        verify_shards(folder, manifest)
        clips += [msgspec.structs.replace(clip, shard=clip.shard + len(shards)) for clip in manifest.clips]
        shards += [np.memmap(folder / shard.file, np.dtype("<i2"), mode="r") for shard in manifest.shards]
        folder_of += [index] * len(manifest.shards)
    _check_apart(clips)
    return AudioSet(clips, shards, folder_of)


def _read(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise ManifestError(f"there is no folder {folder}")
    if (folder / MANIFEST).is_file():
        return read_manifest(folder)
    if (folder / JOURNAL).is_file():
        raise ManifestError(f"{folder} is not finished: give the same `whispergpt train prepare` command again")
    if find_audio(folder):
        raise ManifestError(
            f"{folder} is a folder of audio: first run `whispergpt train prepare {folder} -o DATA`, then give DATA"
        )
    raise ManifestError(f"{folder} holds no data that `whispergpt train prepare` wrote: it has no {MANIFEST}")


def _check_apart(clips: list[Clip]) -> None:
    """No group and no file may be on both sides."""
    held = [clip for clip in clips if clip.split == "heldout"]
    train = [clip for clip in clips if clip.split == "train"]
    if not held or not train:
        raise ManifestError("the data needs clips to train on and clips held out, and has none of one kind")
    groups, files = {clip.group for clip in held}, {clip.sha256 for clip in held}
    shared = next((clip for clip in train if clip.group in groups or clip.sha256 in files), None)
    if shared:
        raise ManifestError(
            f"{shared.path} ({shared.group}) is to be trained on in one of the folders and held out in another: "
            "prepare their sources together"
        )


def find_audio(folder: Path) -> list[Path]:
    """Every audio file under ``folder``, linked folders included, in a stable order."""
    found: list[Path] = []
    visited: set[Path] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        here = Path(root)
        if here.resolve() in visited:
            folders.clear()  # a link back to where the walk has been
            continue
        visited.add(here.resolve())
        folders.sort()  # which of two ways to the same folder is walked must not depend on the disk
        found += [here / name for name in files if Path(name).suffix.lower() in SUFFIXES]
    return sorted(found)
