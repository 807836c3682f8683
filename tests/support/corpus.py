"""Small folders of real audio to prepare, and what is asked about them afterwards."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from whispergpt.cli.main import main
from whispergpt.training.codec.vector_quantization import start_from_kmeans
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip, Manifest

ROOT = Path(__file__).parents[2]
"""Of the repository."""
SHARD = 10 * 24_000
"""Samples of the small shards that the tests write."""


def write(path: Path, seconds: float = 8.0, rate: int = 24_000) -> Path:
    """A tone that no other path has, in noise that no other path has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(list(str(path).encode()))
    times = np.arange(int(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * draw.uniform(100, 1000) * times) + 0.1 * draw.standard_normal(len(times))
    soundfile.write(path, 0.2 * tone, rate)
    return path


def speakers(root: Path, count: int = 4, files: int = 2, seconds: float = 8.0) -> Path:
    for speaker in range(count):
        for file in range(files):
            write(root / f"s{speaker}" / f"{file}.wav", seconds)
    return root


def audio_set(sounds: list[npt.NDArray[np.int16]], folders: list[int] | None = None) -> AudioSet:
    """Return recordings to train on, each of a group of its own, from the prepared folders of these numbers."""
    clips = [Clip(f"{i}", f"{i}", f"g{i}", "train", i, 0, len(sound)) for i, sound in enumerate(sounds)]
    return AudioSet(clips, sounds, folders or [0] * len(sounds))


def shorten_codec_training(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """Let k-means begin with this number of batches and end after two rounds, and let a check take one batch.

    The batches must have as many frames as a codebook has entries.
    """
    short = partial(start_from_kmeans, iterations=2)
    monkeypatch.setattr("whispergpt.training.codec.start.start_from_kmeans", short)
    monkeypatch.setattr("whispergpt.training.codec.start.KMEANS_BATCHES", batches)
    monkeypatch.setattr("whispergpt.training.codec.train.CHECK_BATCHES", 1)


def groups_of(manifest: Manifest, split: str) -> set[str]:
    return {clip.group for clip in manifest.clips if clip.split == split}


def run_main(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    return error


def all_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
