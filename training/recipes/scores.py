"""Bach's scores in music21's corpus: rights, work and notes of each.

The music is in the public domain; an encoding of it may not be. Each file's notice decides. It is read from the file,
since music21's metadata lack the credits, which have most notices.
"""

from __future__ import annotations

import importlib.util
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from whispergpt.engine.extras import MissingPackageError, missing_package
from whispergpt.training.recipes.packages import library

SUFFIXES = {".mxl", ".xml", ".musicxml", ".krn"}
RIGHTS_WORDS = re.compile(
    r"©|\(c\)|copyright|rights|permission|licen[cs]e|public domain|creative commons", re.IGNORECASE
)
NO_NOTICE = "no notice"
PAGE_NOTICE = re.compile(r"PDF ?© ?\d{4} Margaret Greentree( www\.jsbchorales\.net)?(( -|;) used by permission)?")
"""Notice that claims the printed page, of which nothing is used: only Bach's pitches and durations are."""
FREE_NOTICE = re.compile(r"public domain|CC0|CC[- ]BY[- ]\d|creative commons (zero|attribution \d)", re.IGNORECASE)
SAME_SETTING = {
    "bwv137": "bwv120",
    "bwv171": "bwv41",
    "bwv177": "bwv117",
    "bwv271": "bwv244",
    "bwv274": "bwv62",
    "bwv279": "bwv158",
    "bwv280": "bwv176",
    "bwv323": "bwv10",
    "bwv359": "bwv154",
    "bwv398": "bwv197",
    "bwv414": "bwv253",
    "bwv419": "bwv16",
}
"""Works with a chorale in common with another, found by comparing all pairs of scores.

They share at least a fifth of the shorter score's runs of six steps of both outer voices, whatever the key.
"""


class ScoreError(ValueError):
    """A score that cannot be played."""


@dataclass(frozen=True)
class Piece:
    """A score file. ``rights`` is its own notice; ``left_out`` says why it must not be used, or is None."""

    path: Path
    rights: str
    left_out: str | None

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def work(self) -> str:
        return work_of(self.name)


@dataclass(frozen=True)
class Note:
    """A note as written: ``start`` and ``length`` in quarters, ``strength`` of its beat 0 to 1, ``part`` 0 on top."""

    start: float
    length: float
    pitch: int
    part: int
    strength: float
    fermata: bool


def work_of(name: str) -> str:
    """Return the work of a score (``bwv248.64-6`` → ``bwv248``); parts of a work share melodies.

    Works with a setting in common count as one.

    Raises:
        ValueError: the name has no BWV number.
    """
    found = re.match(r"bwv(\d+)", name, re.IGNORECASE)
    if not found:
        raise ValueError(f"{name} has no BWV number")
    number = f"bwv{int(found[1])}"
    return SAME_SETTING.get(number, number)


def bach_folder() -> Path:
    """Return the folder of Bach's scores in the installed music21.

    Raises:
        MissingPackageError: music21 is not installed.
        ValueError: its corpus has been removed.
    """
    found = importlib.util.find_spec("music21")
    if found is None or found.origin is None:
        raise MissingPackageError(missing_package("Bach's scores", "music21", "recipes"))
    folder = Path(found.origin).parent / "corpus" / "bach"
    if not folder.is_dir():
        raise ValueError(f"this music21 comes without its corpus: there is no {folder}")
    return folder


def pieces(folder: Path, strict: bool = False) -> list[Piece]:
    """Return all score files of a folder, ordered by name, with their notices and reasons to leave them out."""
    found = []
    for path in sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES):
        text, source = notices(path)
        found.append(Piece(path, text or NO_NOTICE, reason_to_leave_out(text, source, strict)))
    return found


def reason_to_leave_out(rights: str, source: str, strict: bool) -> str | None:
    """Return why a score with this notice must not be used; None if it may be used.

    Args:
        rights: the file's own notice, empty where it has none.
        source: the file's origin, as it states it.
        strict: leave out scores with any notice that does not grant their use.
    """
    if not rights:
        return f"taken from {source} without a licence" if source else None
    if FREE_NOTICE.search(rights):
        return None
    if not PAGE_NOTICE.fullmatch(rights):
        return "rights in the encoding are reserved"
    return "a notice on the printed page" if strict else None


def notices(path: Path) -> tuple[str, str]:
    """Return ``(rights, source)`` as stated in a MusicXML or Humdrum file; each is empty if not stated.

    Raises:
        ValueError: the file cannot be read as either.
    """
    if path.suffix == ".krn":
        records = re.findall(r"^!!!YE[CM]\S*: *(.+)$", path.read_text("utf-8", "replace"), re.MULTILINE)
        return " ".join(records), ""
    try:
        root = ElementTree.fromstring(_music_xml(path))
    except (ElementTree.ParseError, zipfile.BadZipFile, LookupError) as error:
        raise ValueError(f"{path} is not MusicXML: {error}") from None
    rights = [_text(e) for e in root.iter("rights")]
    credits = [_text(e) for e in root.iter("credit-words")]
    claims = [c for c in rights if c] + [c for c in credits if RIGHTS_WORDS.search(c)]
    return "; ".join(dict.fromkeys(claims)), next((_text(e) for e in root.iter("source")), "")


def _text(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _music_xml(path: Path) -> bytes:
    if path.suffix != ".mxl":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.endswith("xml") and not n.startswith(("META-INF", "__MACOSX"))]
        if not names:
            raise LookupError("no score in the archive")
        return archive.read(names[0])


def read_notes(path: Path) -> tuple[list[Note], float | None]:
    """Return a score's notes by start, and its written tempo in quarters a minute, if it has one.

    Ties are joined, transposing instruments sound as they do, repeats are played once, and grace notes, chord symbols
    and percussion are not played.

    Raises:
        ScoreError: music21 cannot read the score, or there are no notes in it.
        ValueError: music21 is not installed.
    """
    m21 = library("music21")
    try:
        score = m21.converter.parseFile(path, forceSource=True, storePickle=False).toSoundingPitch().stripTies()
    except m21.exceptions21.Music21Exception as error:
        raise ScoreError(f"{path.name} cannot be read: {error}") from None
    notes = []
    for index, part in enumerate(score.parts):
        for written in part.recurse().notes:
            length = float(written.quarterLength)
            if length <= 0 or isinstance(written, m21.harmony.Harmony):
                continue
            start, strength = float(written.getOffsetInHierarchy(part)), float(written.beatStrength)
            fermata = any(isinstance(e, m21.expressions.Fermata) for e in written.expressions)
            notes += [Note(start, length, p.midi, index, strength, fermata) for p in written.pitches]
    if not notes:
        raise ScoreError(f"{path.name} has no notes in it")
    marks = [m.getQuarterBPM() for m in score.recurse().getElementsByClass(m21.tempo.MetronomeMark)]
    tempo = next((float(m) for m in marks if m), None)
    return sorted(notes, key=lambda n: (n.start, n.part, n.pitch)), tempo
