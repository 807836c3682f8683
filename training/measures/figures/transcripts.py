"""Transcripts of recordings, from LibriSpeech's lists or the recipes' tables beside them."""

from __future__ import annotations

import csv
from pathlib import Path


def find_transcripts(folder: Path, files: list[Path]) -> dict[Path, str]:
    """Return the text of each of ``files`` that has one.

    LibriSpeech has ``SPEAKER-CHAPTER.trans.txt`` beside a chapter's files, with lines of a name without ending, a space
    and the text. Tables are ``*.tsv`` in ``folder`` or above it, with columns ``file``, relative to the table, and
    ``text``.
    """
    texts: dict[Path, str] = {}
    for place in (folder, folder.resolve().parent):
        for table in sorted(place.glob("*.tsv")):
            texts |= _of_table(table)
    for chapter in {path.parent for path in files}:
        for table in sorted(chapter.glob("*.trans.txt")):
            for line in table.read_text(encoding="utf-8").splitlines():
                name, _, text = line.partition(" ")
                texts |= {
                    path.resolve(): text for path in files if path.parent == chapter and path.stem == name and text
                }
    return {path: texts[path.resolve()] for path in files if path.resolve() in texts}


def _of_table(table: Path) -> dict[Path, str]:
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if not {"file", "text"} <= set(rows.fieldnames or ()):
            return {}
        return {(table.parent / row["file"]).resolve(): row["text"] for row in rows if row["file"] and row["text"]}
