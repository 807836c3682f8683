"""Output of a measurement: figures of each file, their means, and the audio if it is to be kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import SAMPLE_RATE

REPORT = "report.json"

Figures = Mapping[str, float | None]


def means(rows: Iterable[Figures]) -> dict[str, float | None]:
    """Return the mean of each figure over the rows that have it, or None if no row has."""
    listed = list(rows)
    found: dict[str, list[float]] = {name: [] for row in listed for name in row}
    for name, values in found.items():
        values += [value for row in listed if (value := row.get(name)) is not None]
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}


class Keeper:
    """Writer of a report's folder. Without a folder, nothing is written.

    Args:
        folder: folder for ``report.json``; created if missing.
        audio: keep the measured audio too, under ``audio/``.

    Raises:
        ValueError: audio is to be kept without a folder.
    """

    def __init__(self, folder: Path | None, audio: bool = False) -> None:
        if audio and folder is None:
            raise ValueError("--keep-audio needs -o FOLDER.")
        self.folder, self._audio = folder, audio
        if folder is not None:
            (folder / "audio" if audio else folder).mkdir(parents=True, exist_ok=True)

    def audio(self, name: str, samples: Samples) -> None:
        """Keep samples ``[n]`` at 24 kHz as a 16-bit flac named after ``name``."""
        if self._audio and self.folder is not None:
            plain = re.sub(r"[^\w.+-]+", "_", name).strip("_")[-180:]
            soundfile.write(self.folder / "audio" / f"{plain}.flac", samples, SAMPLE_RATE, subtype="PCM_16")

    def report(self, report: dict[str, Any]) -> None:
        """Write ``report.json``."""
        if self.folder is not None:
            (self.folder / REPORT).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
