"""The recipes' own choices: what may be used, what belongs together, and that a name always gives the same."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from whispergpt.training.recipes import packages, performance, piano, scores, speech, texts
from whispergpt.training.recipes.audio_folder import update_table, whole_seconds, write_flac, write_table

ROOT = Path(__file__).parents[2]
NOTES = [
    scores.Note(
        start=float(beat),
        length=1.0,
        pitch=pitch,
        part=part,
        strength=1.0 if beat % 4 == 0 else 0.25,
        fermata=beat == 7,
    )
    for beat in range(12)
    for part, pitch in enumerate((72, 67, 64, 48))
]
SCORE = """<?xml version="1.0"?>
<score-partwise><identification>{identification}</identification>{credits}
<part-list><score-part id="P1"><part-name>Soprano</part-name></score-part></part-list>
<part id="P1"><measure number="1">
<attributes><divisions>2</divisions><time><beats>4</beats><beat-type>4</beat-type></time></attributes>
<note><pitch><step>C</step><octave>5</octave></pitch><duration>4</duration><tie type="start"/></note>
<note><pitch><step>C</step><octave>5</octave></pitch><duration>2</duration><tie type="stop"/></note>
<note><pitch><step>D</step><octave>5</octave></pitch><duration>2</duration><notations><fermata/></notations></note>
</measure></part></score-partwise>"""


def credit(words: str) -> str:
    return f"<credit><credit-words>{words}</credit-words></credit>"


def write_score(path: Path, credits: str = "", identification: str = "") -> Path:
    text = SCORE.format(credits=credits, identification=identification)
    if path.suffix == ".mxl":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("META-INF/container.xml", "<container/>")
            archive.writestr(f"{path.stem}.musicxml", text)
    else:
        path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("bwv1.6", "bwv1"),
        ("bwv248.64-6", "bwv248"),
        ("bwv145-a", "bwv145"),
        ("bwv0277", "bwv277"),
        ("bwv271", "bwv244"),
    ],
)
def test_movements_and_versions_belong_to_their_work(name: str, work: str) -> None:
    assert scores.work_of(name) == work


def test_works_with_a_setting_in_common_are_one_group() -> None:
    for work, other in scores.SAME_SETTING.items():
        assert work != other and scores.work_of(other) == other == scores.work_of(f"{work}.1")


def test_a_score_without_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="prelude has no BWV number"):
        scores.work_of("prelude")


def test_each_scores_own_notice_decides(tmp_path: Path) -> None:
    write_score(tmp_path / "bwv1.1.mxl")
    write_score(tmp_path / "bwv2.1.mxl", credit("PDF © 2004 Margaret Greentree") + credit("used by permission"))
    write_score(tmp_path / "bwv3.1.xml", identification="<rights>© 2020 Somebody. All rights reserved.</rights>")
    write_score(tmp_path / "bwv4.1.xml", identification="<rights>Public Domain</rights>")
    write_score(tmp_path / "bwv5.1.xml", identification="<source>http://scores.example/1</source>")
    (tmp_path / "bwv6.krn").write_text("!!!YEC: Copyright 1994, Somebody\n!!!YEM: Rights reserved.\n**kern\n4c\n*-\n")
    judged = {piece.name: piece for piece in scores.pieces(tmp_path)}
    kept = {name for name, piece in judged.items() if piece.left_out is None}
    assert kept == {"bwv1.1", "bwv2.1", "bwv4.1"}
    assert judged["bwv1.1"].rights == scores.NO_NOTICE
    assert judged["bwv2.1"].rights == "PDF © 2004 Margaret Greentree; used by permission"
    assert judged["bwv5.1"].left_out == "taken from http://scores.example/1 without a licence"
    assert judged["bwv6"].left_out == "rights in the encoding are reserved"
    strict = {piece.name for piece in scores.pieces(tmp_path, strict=True) if piece.left_out is None}
    assert strict == {"bwv1.1", "bwv4.1"}


def test_a_broken_score_is_named(tmp_path: Path) -> None:
    (tmp_path / "bwv1.mxl").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"bwv1\.mxl is not MusicXML"):
        scores.pieces(tmp_path)


def test_notes_are_read_with_ties_joined(tmp_path: Path) -> None:
    notes, tempo = scores.read_notes(write_score(tmp_path / "bwv1.mxl"))
    assert [(n.start, n.length, n.pitch, n.fermata) for n in notes] == [(0, 3, 72, False), (3, 1, 74, True)]
    assert tempo is None


def test_a_name_always_gives_the_same_performance() -> None:
    style = performance.style_of("bwv1.6")
    assert style == performance.style_of("bwv1.6")
    assert performance.perform(NOTES, 90, style, "bwv1.6") == performance.perform(NOTES, 90, style, "bwv1.6")
    other = performance.style_of("bwv2.6")
    assert performance.perform(NOTES, 90, other, "bwv2.6") != performance.perform(NOTES, 90, style, "bwv1.6")


def test_all_four_pianos_are_played_in_the_written_key_unless_transposed() -> None:
    styles = [performance.style_of(f"bwv{number}") for number in range(200)]
    counts = [sum(s.program == program for s in styles) for program in range(performance.PIANOS)]
    assert sum(counts) == 200 and min(counts) > 25
    assert {s.transposition for s in styles} == {0}
    assert 0 not in {performance.style_of(f"bwv{n}", transpose=True).transposition for n in range(50)}


def test_a_performance_is_not_mechanical() -> None:
    strokes = performance.perform(NOTES, 80, performance.style_of("bwv1.6"), "bwv1.6")
    assert len(strokes) == len(NOTES)
    assert len({s.velocity for s in strokes}) > 5
    top = [s.down for s in strokes if s.pitch == 72]
    steps = np.diff(top)
    assert np.all(steps > 0.3) and np.std(steps) > 0.01
    assert steps[7] > 1.15 * np.median(steps[:7])  # the fermata on the eighth beat
    assert all(0 < s.down < s.up and 20 <= s.velocity <= 118 for s in strokes)


def test_voices_that_meet_on_a_key_share_it() -> None:
    held = scores.Note(0.0, 4.0, 60, 0, 1.0, False)
    together = scores.Note(0.0, 1.0, 60, 1, 1.0, False)
    again = scores.Note(2.0, 1.0, 60, 1, 1.0, False)
    strokes = performance.perform([held, together, again], 80, performance.style_of("a"), "a")
    assert len(strokes) == 2
    assert strokes[0].up < strokes[1].down


def test_midi_is_the_same_every_time(tmp_path: Path) -> None:
    import mido

    style = performance.style_of("bwv1.6")
    strokes = performance.perform(NOTES, 80, style, "bwv1.6")
    for name in ("a.mid", "b.mid"):
        performance.write_midi(strokes, style, tmp_path / name)
    assert (tmp_path / "a.mid").read_bytes() == (tmp_path / "b.mid").read_bytes()
    messages = list(mido.MidiFile(tmp_path / "a.mid"))
    assert [m.program for m in messages if m.type == "program_change"] == [style.program]
    assert sum(m.type == "note_on" for m in messages) == sum(m.type == "note_off" for m in messages) == len(NOTES)


def test_the_level_is_set_and_never_clips() -> None:
    quiet = np.sin(np.arange(24_000, dtype=np.float32) / 20) * np.float32(0.01)
    ended = np.concatenate([quiet, np.zeros(48_000, np.float32)])
    scaled = piano.levelled(ended, -20.0)
    assert 1.0 < len(scaled) / 24_000 < 1.5
    assert np.sqrt(np.mean(np.square(scaled[:24_000]))) == pytest.approx(np.sqrt(3) * 0.1, rel=0.01)
    click = np.zeros(24_000, np.float32)
    click[100] = 0.5
    assert np.abs(piano.levelled(click, -20.0)).max() == pytest.approx(piano.HIGHEST_PEAK)
    with pytest.raises(ValueError, match="no sound"):
        piano.levelled(np.zeros(100, np.float32), -20.0)


def test_what_is_there_and_whole_is_not_made_again(tmp_path: Path) -> None:
    path = tmp_path / "bwv1" / "bwv1.6.flac"
    write_flac(path, np.zeros(12_000, np.float32), 24_000)
    before = path.stat().st_mtime_ns
    piece = scores.Piece(tmp_path / "missing" / "bwv1.6.mxl", "no notice", None)
    rows = piano.play(piece, 1, tmp_path, "no-such-program", tmp_path / "no.sf2")
    program = performance.style_of("bwv1.6").program
    assert rows == [("bwv1/bwv1.6.flac", "0.50", "bwv1", program, "no notice")]
    assert path.stat().st_mtime_ns == before


def test_a_file_without_its_end_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000).astype(np.float32)
    write_flac(path, noise, 24_000)
    assert whole_seconds(path) == 2.0
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert whole_seconds(path) is None
    assert whole_seconds(tmp_path / "b.flac") is None


def test_a_table_keeps_one_line_a_row(tmp_path: Path) -> None:
    write_table(tmp_path / "t.tsv", ("file", "text"), [("a.flac", 'He said:\t"no"\nand left')])
    assert (tmp_path / "t.tsv").read_text() == 'file\ttext\na.flac\tHe said: "no" and left\n'


def test_a_set_can_be_made_in_several_runs(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    for name in ("a", "b", "c"):
        write_flac(tmp_path / f"{name}.flac", np.zeros(10, np.float32), 24_000)
    update_table(table, ("file", "seconds"), [("b.flac", 1), ("c.flac", 2)])
    (tmp_path / "c.flac").unlink()
    update_table(table, ("file", "seconds"), [("a.flac", 3)])
    assert table.read_text() == "file\tseconds\na.flac\t3\nb.flac\t1\n"


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="^fluidsynth is needed to play the scores .*: apt install fluidsynth$"):
        packages.require("fluidsynth", "play the scores")
    told = r"^This recipe needs the package no_such_library, .* installed: pip install 'whispergpt\[recipes\]'\.$"
    with pytest.raises(ValueError, match=told):
        packages.library("no_such_library")


def test_a_recipe_that_cannot_run_says_so_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "whispergpt.training.recipes.piano", "-o", str(tmp_path / "piano")],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},  # no fluidsynth there, and music21 may be missing too
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("piano: ")
    assert "install" in done.stderr


def test_a_package_is_whole_in_the_cache_or_not_there(tmp_path: Path) -> None:
    broken = [sys.executable, "-c", "open('half', 'w'); raise SystemExit('the line went dead')"]
    whole = [sys.executable, "-c", "import zipfile; zipfile.ZipFile('a.whl', 'w').writestr('file', '')"]
    place = tmp_path / "pypi" / "a"
    with pytest.raises(ValueError, match="a could not be fetched: the line went dead"):
        packages._fetched(place, broken, "*.whl")
    assert not any(place.parent.iterdir())
    assert packages._fetched(place, whole, "*.whl") == place
    assert [path.name for path in place.iterdir()] == ["file"]
    assert packages._fetched(place, broken, "*.whl") == place  # nothing is fetched twice


def test_heldout_voices_and_their_book_are_only_made_when_asked_for() -> None:
    assert not set(speech.VOICES) & set(speech.HELDOUT_VOICES)
    assert len(speech.VOICES) == 24
    with pytest.raises(ValueError, match="af_sky is held out"):
        speech.chosen_voices("af_heart,af_sky", speech.VOICES)
    with pytest.raises(ValueError, match="no voice zz_top"):
        speech.chosen_voices("zz_top", speech.VOICES)
    lines = ["It was a long sentence, and then it went on, and on, " * 3 + "as they all did."]
    library = {"emma": lines, "persuasion": lines}
    assert [p.book for p in speech.part(library, heldout=False)] == ["emma"]
    assert [p.book for p in speech.part(library, heldout=True)] == ["persuasion"]


def test_no_passage_is_read_twice_and_the_deal_is_stable() -> None:
    all_passages = [speech.Passage("emma", number, "") for number in range(100)]
    dealt = speech.deal(all_passages, speech.VOICES)
    assert dealt == speech.deal(all_passages[::-1], speech.VOICES)
    together = [passage for share in dealt.values() for passage in share]
    assert sorted(p.number for p in together) == list(range(100))


def test_sentences_do_not_end_at_titles() -> None:
    text = 'Mr. Knightley came. "Is Mrs. Weston here?" asked J. Fairfax. She was.'
    assert texts.sentences(text) == ["Mr. Knightley came.", '"Is Mrs. Weston here?" asked J. Fairfax.', "She was."]


def test_headings_emphasis_and_dates_are_not_read() -> None:
    lines = ["CHAPTER I", "", "EMMA", "", "She was _so_ kind--always."]
    assert texts.paragraphs(lines) == ["She was so kind — always."]
    dated = f"It was in the year 1803 {'and later ' * 12}that it was."
    assert texts.passages([dated]) == []
