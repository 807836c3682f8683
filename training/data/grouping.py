"""What must not be shared between training and held-out: speakers or works, told from how a folder is laid out."""

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
    """The group of each file of one folder, by its path within it; and the data set's own split, where it has one.

    A file without a group is one that the data set's table does not know; ``table`` is that table's name.
    """

    grouping: Grouping
    groups: dict[Path, str]
    own_split: dict[Path, Split] = field(default_factory=dict)
    table: str = ""


def lay_out(folder: Path, files: list[Path], group_by: GroupBy) -> Layout:
    """Group ``files``, given relative to ``folder``.

    ``auto`` takes the first that fits: MAESTRO's table at the root; LibriSpeech's speaker/chapter/file; the first
    folder below the root, where no file lies beside one; else each file is a group.

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
    """The name a folder's paths and groups start with; ``.`` and links have one too."""
    return label(Path(os.path.abspath(folder)).name)  # noqa: PTH100 (resolve would follow the link)


def label(name: str) -> str:
    """A file's name as text, whatever bytes it is of."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def choose_heldout(groups: Iterable[str], count: int | None) -> set[str]:
    """The ``count`` groups (None: 6 % of them, at least one) whose names hash lowest, so that the choice is stable."""
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    if count is None:
        count = max(1, len(ordered) * HELDOUT_PERCENT // 100)
    return set(ordered[:count])


def _librispeech_speaker(folder: Path, file: Path) -> str | None:
    """The speaker of …/speaker/chapter/speaker-chapter-utterance, wherever above it the root is."""
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
        # Who keeps the recordings as FLAC has the table's names but for the ending.
        row = known.get(file) or known.get(file.with_suffix(".wav"))
        if row:
            composer, title = (" ".join(row[column].split()) for column in MAESTRO_COLUMNS[:2])
            groups[file] = f"{name}/{composer}: {title}"
            own_split[file] = "train" if row["split"] == "train" else "heldout"
    return Layout("maestro", groups, own_split, table.name)


def _rows(table: Path) -> list[dict[str, str]]:
    """The table's rows: of CSV, of a JSON list of rows, or of a JSON object of columns (version 3)."""
    try:
        rows: list[dict[str, Any]]
        if table.suffix == ".csv":
            with table.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        else:
            content = json.loads(table.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                columns = [content[column] for column in MAESTRO_COLUMNS]
                content = [
                    dict(zip(MAESTRO_COLUMNS, (column[key] for column in columns), strict=True)) for key in columns[0]
                ]
            rows = content
        wanted = [{column: row[column] for column in MAESTRO_COLUMNS} for row in rows]
        if not all(isinstance(value, str) for row in wanted for value in row.values()):
            raise ValueError("a field is not text")
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(f"{table} cannot be read as MAESTRO's table ({error})") from None
    return wanted
