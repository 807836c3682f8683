"""Folders of audio as training data: decoded once into a flat cache, split by speaker."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from engine.audio_file import AudioError, read_audio
from engine.config import HOP

SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aiff", ".webm"}


@dataclass(frozen=True)
class Clip:
    """One file's place in the cache; ``speaker`` is what must not be shared between training and held-out."""

    path: str
    speaker: str
    start: int
    samples: int


@dataclass(frozen=True)
class AudioSet:
    """Clips and their int16 samples at 24 kHz, memory-mapped."""

    clips: list[Clip]
    audio: npt.NDArray[np.int16]

    @property
    def seconds(self) -> float:
        return sum(c.samples for c in self.clips) / 24_000

    def samples(self, clip: Clip) -> npt.NDArray[np.float32]:
        """Samples ``[n]`` of one clip, float32 in -1…1."""
        return self.audio[clip.start : clip.start + clip.samples].astype(np.float32) / 32768.0

    def split(self, heldout: int) -> tuple[AudioSet, AudioSet]:
        """Hold out the clips of ``heldout`` speakers, chosen by a hash of their names so that the choice is stable."""
        speakers = sorted({c.speaker for c in self.clips}, key=lambda s: hashlib.sha256(s.encode()).hexdigest())
        kept_out = set(speakers[:heldout])
        return (
            AudioSet([c for c in self.clips if c.speaker not in kept_out], self.audio),
            AudioSet([c for c in self.clips if c.speaker in kept_out], self.audio),
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
        found += [here / name for name in files if Path(name).suffix.lower() in SUFFIXES]
    return sorted(found)


def speaker_of(path: Path, folder: Path) -> str:
    """The first folder below the root, LibriSpeech's layout (speaker/chapter/file) and most others; else the file."""
    parts = path.relative_to(folder).parts
    return f"{folder.name}/{parts[0]}"


def load_audio(folders: list[Path], cache: Path) -> AudioSet:
    """Decode all audio under ``folders`` once into ``cache`` and map it.

    Raises:
        ValueError: a folder is missing or has no audio in it.
    """
    key = hashlib.sha256("\n".join(str(f.resolve()) for f in folders).encode()).hexdigest()[:12]
    index_file, samples_file = cache / f"{key}.json", cache / f"{key}.i16"
    if not index_file.exists():
        _decode_all(folders, index_file, samples_file)
    clips = [Clip(**entry) for entry in json.loads(index_file.read_text())]
    return AudioSet(clips, np.memmap(samples_file, np.int16, mode="r"))


def _decode_all(folders: list[Path], index_file: Path, samples_file: Path) -> None:
    jobs = []
    for folder in folders:
        found = find_audio(folder) if folder.is_dir() else []
        if not found:
            raise ValueError(f"{folder} is not a folder with audio in it")
        jobs += [(path, speaker_of(path, folder)) for path in found]
    index_file.parent.mkdir(parents=True, exist_ok=True)
    clips: list[Clip] = []
    position = 0

    def read(job: tuple[Path, str]) -> npt.NDArray[np.int16] | None:
        try:
            audio = read_audio(job[0], max_seconds=None)
        except AudioError as error:
            tqdm.write(f"skipped {job[0]}: {error}")
            return None
        whole = len(audio) // HOP * HOP
        return (np.clip(audio[:whole], -1, 1) * 32767).astype(np.int16)

    with samples_file.open("wb") as out, ThreadPoolExecutor() as pool:
        decoded = tqdm(pool.map(read, jobs), total=len(jobs), desc="decode", disable=None)
        for (path, speaker), audio in zip(jobs, decoded, strict=True):
            if audio is None or not len(audio):
                continue
            out.write(audio.tobytes())
            clips.append(Clip(str(path), speaker, position, len(audio)))
            position += len(audio)
    index_file.write_text(json.dumps([c.__dict__ for c in clips]))
