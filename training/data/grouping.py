"""Groups that training and held-out data must not share (speakers or works), found from a folder's layout."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from whispergpt.training.data.manifest import Grouping, Split

GroupBy = Literal["auto", "folder", "file", "maestro"]

HELDOUT_PERCENT = 6
HELDOUT_RULE = (
    "the groups with the lowest SHA-256 of their names; of MAESTRO, the works its own split has in validation or test"
)
MAESTRO_COLUMNS = ("canonical_composer", "canonical_title", "split", "audio_filename")
_LIBRISPEECH = re.compile(r"(\d+)-(\d+)-\d+")


@dataclass(frozen=True)
class Layout:
    """Group of each file by its path within one folder, and the data set's own split, where it has one.

    A file without a group is missing from the data set's table; ``table`` is the name of that table.
    """

    grouping: Grouping
    groups: dict[Path, str]
    own_split: dict[Path, Split] = field(default_factory=dict)
    table: str = ""


def lay_out(folder: Path, files: list[Path], group_by: GroupBy) -> Layout:
    """Group ``files``, given relative to ``folder``.

    ``auto`` takes the first layout that fits: MAESTRO's table at the root; LibriSpeech's speaker/chapter/file; one
    folder for each group, with no file beside them; else each file is a group.

    Raises:
        ValueError: ``maestro`` is asked for and its table is missing, or it is damaged.
    """
    name = folder_name(folder)
    table = _maestro_table(folder) if group_by in ("auto", "maestro") else None
    if table is not None:
        return _maestro(table, name, files)
    if group_by == "maestro":
        raise ValueError(f"{folder} has no maestro-v*.csv or .json, which says what MAESTRO's recordings are of")
    if group_by == "auto":
        speakers = {file: speaker for file in files if (speaker := _librispeech_speaker(folder, file))}
        if len(speakers) == len(files):
            return Layout("speaker", {file: f"{name}/{speaker}" for file, speaker in speakers.items()})
        group_by = "folder" if all(len(file.parts) > 1 for file in files) else "file"
    if group_by == "folder":
        return Layout("folder", {file: f"{name}/{label(file.parts[0])}" for file in files})
    return Layout("file", {file: f"{name}/{label(file.as_posix())}" for file in files})


def folder_name(folder: Path) -> str:
    """Return the name that a folder's paths and groups start with, for ``.`` and links too."""
    return label(Path(os.path.abspath(folder)).name)  # noqa: PTH100 (resolve would follow the link)


def label(name: str) -> str:
    """Return a file's name as text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def choose_heldout(groups: Iterable[str], count: int | None) -> set[str]:
    """Return the ``count`` groups (None: 6 %, at least one) whose names hash lowest, so that the choice is stable."""
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    if count is None:
        count = max(1, len(ordered) * HELDOUT_PERCENT // 100)
    return set(ordered[:count])


def _librispeech_speaker(folder: Path, file: Path) -> str | None:
    """Return the speaker of …/speaker/chapter/speaker-chapter-utterance, wherever the root lies above it."""
    named = _LIBRISPEECH.fullmatch(file.stem)
    above = (*Path(os.path.abspath(folder)).parts, *file.parts)[-3:-1]  # noqa: PTH100
    return named[1] if named and above == named.groups() else None


def _maestro_table(folder: Path) -> Path | None:
    found = sorted([*folder.glob("maestro-v*.csv"), *folder.glob("maestro-v*.json")])
    return found[-1] if found else None


def _maestro(table: Path, name: str, files: list[Path]) -> Layout:
    known = {Path(row["audio_filename"]): row for row in _rows(table)}
    groups: dict[Path, str] = {}
    own_split: dict[Path, Split] = {}
    for file in files:
        # Recordings kept as FLAC have the table's names with another ending.
        row = known.get(file) or known.get(file.with_suffix(".wav"))
        if row:
            composer, title = (" ".join(row[column].split()) for column in MAESTRO_COLUMNS[:2])
            groups[file] = f"{name}/{composer}: {title}"
            own_split[file] = "train" if row["split"] == "train" else "heldout"
    return Layout("maestro", groups, own_split, table.name)


def _rows(table: Path) -> list[dict[str, str]]:
    """Return the rows of a table in CSV, a JSON list of rows, or a JSON object of columns (version 3)."""
    try:
        if table.suffix == ".csv":
            with table.open(encoding="utf-8", newline="") as file:
                rows: list[dict[str, Any]] = list(csv.DictReader(file))
        else:
            content: Any = json.loads(table.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                keys = content[MAESTRO_COLUMNS[0]]
                content = [{column: content[column][key] for column in MAESTRO_COLUMNS} for key in keys]
            rows = content
        wanted = [{column: row[column] for column in MAESTRO_COLUMNS} for row in rows]
        if not all(isinstance(value, str) for row in wanted for value in row.values()):
            raise ValueError("a field is not text")
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(f"{table} cannot be read as MAESTRO's table ({error})") from None
    return wanted
