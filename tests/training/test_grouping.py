"""What training and held-out must not share, told from a folder's layout, and which of it is held out."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest

from tests.support.corpus import groups_of, one_line, run_main, write
from whispergpt.training.data.grouping import choose_heldout, lay_out
from whispergpt.training.data.prepare import prepare


def test_librispeech_is_grouped_by_speaker_wherever_the_root_is(tmp_path: Path) -> None:
    read = ((19, 7), (19, 8), (26, 9))
    files = [write(tmp_path / f"LibriSpeech/dev/{who}/{what}/{who}-{what}-0000.flac", 0.1) for who, what in read]
    for root, found in (("", {"19", "26"}), ("dev", {"19", "26"}), ("dev/19", {"19"})):
        folder = tmp_path / "LibriSpeech" / root
        inside = [file.relative_to(folder) for file in files if file.is_relative_to(folder)]
        layout = lay_out(folder, inside, "auto")
        assert layout.grouping == "speaker"
        assert set(layout.groups.values()) == {f"{folder.name}/{speaker}" for speaker in found}


def test_other_layouts_are_grouped_by_folder_or_file(tmp_path: Path) -> None:
    root = tmp_path / "voices"
    in_folders = [Path("ann/book/1.wav"), Path("ben/1.wav")]
    mixed = [*in_folders, Path("0.wav")]
    by_folder, flat = lay_out(root, in_folders, "auto"), lay_out(root, mixed, "auto")
    assert (by_folder.grouping, flat.grouping) == ("folder", "file")
    assert set(by_folder.groups.values()) == {"voices/ann", "voices/ben"}
    assert set(flat.groups.values()) == {"voices/ann/book/1.wav", "voices/ben/1.wav", "voices/0.wav"}
    assert lay_out(root, in_folders, "file").groups[in_folders[0]] == "voices/ann/book/1.wav"
    assert set(lay_out(root, mixed, "folder").groups.values()) == {"voices/ann", "voices/ben", "voices/0.wav"}
    with pytest.raises(ValueError, match="maestro-v"):
        lay_out(root, mixed, "maestro")


ROWS = [
    ("Domenico Scarlatti", "Sonata K. 1", "train", "2004/a.wav"),
    ("Domenico Scarlatti", "Sonata K.  1", "train", "2006/b.wav"),
    ("Franz Liszt", "Étude", "validation", "2004/c.wav"),
    ("Franz Liszt", "Sonata", "test", "2006/d.wav"),
    ("Clara Schumann", "Romance", "train", "2006/e.wav"),
]
NAMES = ("canonical_composer", "canonical_title", "split", "audio_filename")


@pytest.mark.parametrize("kind", ["csv", "rows.json", "columns.json"])
def test_maestro_is_grouped_by_work_and_keeps_its_split(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "maestro"
    for _, _, _, name in ROWS:
        write(root / name, 13)
    write(root / "2006" / "unknown.wav", 1)
    rows = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    table = root / f"maestro-v3.0.0.{kind.split('.')[-1]}"
    if kind == "csv":
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, NAMES)
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "rows.json":
        table.write_text(json.dumps(rows))
    else:
        table.write_text(json.dumps({name: {str(i): row[name] for i, row in enumerate(rows)} for name in NAMES}))
    # --heldout is of the groups that have no split of their own.
    manifest = prepare([root], tmp_path / "data", heldout=1).manifest
    assert manifest.folders[0].grouping == "maestro"
    assert groups_of(manifest, "train") == {
        "maestro/Domenico Scarlatti: Sonata K. 1",
        "maestro/Clara Schumann: Romance",
    }
    assert groups_of(manifest, "heldout") == {"maestro/Franz Liszt: Étude", "maestro/Franz Liszt: Sonata"}
    skipped = {file.path: file.reason for file in manifest.skipped}
    assert skipped == {"maestro/2006/unknown.wav": f"It is not in {table.name}."}


def test_damaged_maestro_table_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "m" / "a.wav")
    (tmp_path / "m" / "maestro-v3.0.0.csv").write_text("composer,title\nx,y\n")
    assert run_main("train", "prepare", tmp_path / "m", "-o", tmp_path / "data") == 2
    assert "cannot be read as MAESTRO's table" in one_line(capsys)


def test_heldout_groups_are_those_whose_names_hash_lowest() -> None:
    names = {f"train-clean-100/{speaker}" for speaker in range(251)} | {f"train/voice{i}" for i in range(24)}
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert choose_heldout(names, 16) == choose_heldout(names, None) == set(by_hash[:16])
    assert len(choose_heldout({"a", "b", "c"}, None)) == 1
    # Those that the published speech model has never heard may not come to be trained on.
    others = {f"train-clean-100/{speaker}" for speaker in (19, 26, 27, 39, 40, 8975)} | {
        "train/bf_emma",
        "train/am_adam",
    }
    assert choose_heldout(UNHEARD | others, 16) == UNHEARD


UNHEARD = {
    *(f"train-clean-100/{speaker}" for speaker in (163, 1898, 226, 2518, 32, 3259, 3526, 4051, 445, 6000, 6081)),
    *(f"train-clean-100/{speaker}" for speaker in (7278, 8088, 8226)),
    *("train/af_alloy", "train/af_nicole"),
}
