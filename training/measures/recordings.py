"""Recordings to measure, in a fair order, with their transcripts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

from whispergpt.engine.audio.audio_file import read_audio
from whispergpt.training.data.grouping import label
from whispergpt.training.data.recordings import Recording, Recordings, recordings_in
from whispergpt.training.measures.figures.transcripts import find_transcripts


def find_recordings(paths: list[Path]) -> Recordings:
    """Return single files, files under folders of audio, and the held-out clips of prepared folders.

    Raises:
        ValueError: a path is missing, holds no audio, or is a prepared folder that cannot be used.
    """
    found: list[Recording] = []
    for path in paths:
        if path.is_file():
            found.append(Recording(label(str(path)), label(path.name), partial(read_audio, path, None)))
        elif not path.is_dir():
            raise ValueError(f"There is no file or folder {path}.")
        else:
            inside = recordings_in(path).all
            texts = find_transcripts(path, [one.path for one in inside if one.path])
            found += [replace(one, text=texts.get(one.path)) if one.path else one for one in inside]
    # In the order of a hash: the first N are a fair sample, which does not depend on the folders' place on the disk.
    return Recordings(sorted(found, key=lambda one: hashlib.sha256(one.name.encode()).hexdigest()))
