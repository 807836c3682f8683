"""Jane Austen's novels from Debian's r-cran-janeaustenr, as passages that take eight to twenty seconds to read."""

from __future__ import annotations

import re
import warnings
import zlib
from pathlib import Path

from whispergpt.training.recipes.packages import from_debian, library

PACKAGE = "r-cran-janeaustenr"
DATA = "usr/lib/R/site-library/janeaustenr/data"
SHORTEST, LONGEST = 120, 300
"""Fewest and most characters of a passage."""
UNREADABLE = re.compile(r"[\d\[\]&]")
"""Marks of sums, dates and editors' notes, whose reading differs from their spelling."""
TITLES = ("Mr", "Mrs", "Dr", "St", "Esq", "Messrs", "Capt", "Col", "Gen", "Rev", "Hon")
SENTENCE_END = re.compile(r"(?<=[.!?])(?P<quote>[\"']?) +(?=[\"'A-Z])")
NOT_AN_END = re.compile(rf"(?:\b(?:{'|'.join(TITLES)}|[A-Z])\.)$")
HEADING = re.compile(r"^(chapter|volume|finis|the end)\b", re.IGNORECASE)


def books(cache: Path) -> dict[str, list[str]]:
    """Return each book's lines by its name: emma, mansfieldpark, northangerabbey, persuasion and two more.

    Raises:
        ValueError: the package or the library that reads it is missing.
    """
    rdata = library("rdata")
    folder = from_debian(PACKAGE, cache) / DATA
    index = rdata.read_rds(folder / "Rdata.rdx")
    blobs = (folder / "Rdata.rdb").read_bytes()
    found = {}
    for name, (start, length) in index["variables"].items():
        # R's lazy-load format: a big-endian length, then a serialized object in zlib
        serialized = zlib.decompress(blobs[int(start) + 4 : int(start) + int(length)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rdata warns when it gets no file name
            lines = rdata.conversion.convert(rdata.parser.parse_data(serialized))
        found[str(name)] = [str(line) for line in lines]
    return found


def passages(lines: list[str]) -> list[str]:
    """Return passages of whole sentences from one paragraph, ``SHORTEST`` to ``LONGEST`` characters, in order."""
    found = []
    for paragraph in paragraphs(lines):
        gathered = ""
        for sentence in sentences(paragraph):
            gathered = f"{gathered} {sentence}".strip()
            if len(gathered) > LONGEST:
                gathered = ""
            elif len(gathered) >= SHORTEST:
                found.append(gathered)
                gathered = ""
    return [text for text in found if not UNREADABLE.search(text)]


def paragraphs(lines: list[str]) -> list[str]:
    """Return paragraphs as one line each, with real dashes, without emphasis marks, headings and title pages."""
    found = []
    for block in "\n".join(lines).split("\n\n"):
        text = " ".join(block.replace("_", "").replace("--", " — ").split())
        if text and not HEADING.match(text) and not text.isupper():
            found.append(text)
    return found


def sentences(paragraph: str) -> list[str]:
    """Return a paragraph's sentences; titles and initials do not end one."""
    found: list[str] = []
    start = 0
    for end in SENTENCE_END.finditer(paragraph):
        if NOT_AN_END.search(paragraph[: end.start()]):
            continue
        found.append(paragraph[start : end.start() + len(end["quote"])].strip())
        start = end.end()
    return [*found, paragraph[start:].strip()]
