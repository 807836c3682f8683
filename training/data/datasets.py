"""Prepared folders as training data: clips of memory-mapped shards, on two sides of a split."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    """Clips and their memory-mapped shards of int16 samples at 24 kHz; ``clip.shard`` is an index into ``shards``.

    ``folder_of``: for each shard, the number of the prepared folder that it is from.
    """

    clips: list[Clip]
    shards: list[npt.NDArray[np.int16]]
    folder_of: list[int]

    @property
    def seconds(self) -> float:
        return sum(c.samples for c in self.clips) / SAMPLE_RATE

    @property
    def train(self) -> AudioSet:
        """Return the clips to train on."""
        return self._side("train")

    @property
    def heldout(self) -> AudioSet:
        """Return the clips that are never trained on; none of their speakers or works is in ``train``."""
        return self._side("heldout")

    def samples(self, clip: Clip) -> npt.NDArray[np.float32]:
        """Return the samples ``[n]`` of one clip, float32 in -1…1."""
        return self.read(clip, 0, clip.samples)

    def read(self, clip: Clip, start: int, samples: int) -> npt.NDArray[np.float32]:
        """Return ``samples`` samples of a clip from its ``start``-th on, float32 ``[samples]`` in -1…1.

        Raises:
            ValueError: the clip is too short.
        """
        if not 0 <= start <= start + samples <= clip.samples:
            raise ValueError(f"{clip.path} has {clip.samples} samples, not {samples} from {start} on")
        first = clip.start + start
        return self.shards[clip.shard][first : first + samples].astype(np.float32) / 32768.0

    def _side(self, split: Split) -> AudioSet:
        return AudioSet([c for c in self.clips if c.split == split], self.shards, self.folder_of)


def load_prepared(folders: list[Path]) -> AudioSet:
    """Check and map folders that ``whispergpt train prepare`` wrote; the hash of every shard is checked too.

    Raises:
        ManifestError: a folder is missing, unfinished, of another format or damaged, or one folder holds out a
            group or a file that another would train on.
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
    """Raise ManifestError where a group or a file is on both sides, or a side is empty."""
    held = [clip for clip in clips if clip.split == "heldout"]
    train = [clip for clip in clips if clip.split == "train"]
    if not train:
        raise ManifestError("the data has nothing to train on: all of it is held out")
    if not held:
        raise ManifestError(
            "nothing of the data is held out, and training is judged by that: give a folder beside that holds some out"
        )
    groups, files = {clip.group for clip in held}, {clip.sha256 for clip in held}
    shared = next((clip for clip in train if clip.group in groups or clip.sha256 in files), None)
    if shared:
        raise ManifestError(
            f"{shared.path} ({shared.group}) is to be trained on in one of the folders and held out in another: "
            "prepare their sources together"
        )


def find_audio(folder: Path) -> list[Path]:
    """Return every audio file under ``folder``, including linked folders, in a stable order."""
    found: list[Path] = []
    visited: set[Path] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        here = Path(root)
        if here.resolve() in visited:
            folders.clear()  # a link to a folder that was walked already
            continue
        visited.add(here.resolve())
        folders.sort()  # of two paths to one folder, the one that is walked must not depend on the disk
        found += [here / name for name in files if Path(name).suffix.lower() in SUFFIXES]
    return sorted(found)


def odds_by_shares(
    lengths: Sequence[int], folders: Sequence[int], shares: tuple[float, ...] | None
) -> npt.NDArray[np.float64]:
    """Return the probability of drawing from each recording, in proportion to its length within its folder.

    Args:
        lengths: samples or frames of each recording.
        folders: the number of each recording's folder; not read without ``shares``.
        shares: proportion of the draws that comes from each folder; None: in proportion to its length.
    """
    weights = np.array(lengths, dtype=np.float64)
    if shares is not None:
        folder = np.array(folders)
        weights *= np.array(shares)[folder] / np.bincount(folder, weights, len(shares))[folder]
    return weights / weights.sum()
