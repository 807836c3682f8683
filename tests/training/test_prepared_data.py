"""What training makes of prepared folders, and what it says to damaged ones and to none."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.corpus import ROOT, SHARD, one_line, run_main, speakers, write
from whispergpt.engine.audio.audio_file import read_audio
from whispergpt.engine.config import HOP
from whispergpt.training.data.datasets import load_prepared
from whispergpt.training.data.manifest import MANIFEST
from whispergpt.training.data.prepare import prepare


def test_prepared_audio_is_the_files_audio(tmp_path: Path) -> None:
    root = speakers(tmp_path / "voices", seconds=8.01)
    write(root / "s0" / "48k.flac", 1.5, 48_000)
    manifest = prepare([root], tmp_path / "data", shard_samples=SHARD, workers=2).manifest
    data = load_prepared([tmp_path / "data"])
    assert len(manifest.shards) == 8 and all(shard.samples <= SHARD for shard in manifest.shards)
    assert len(data.clips) == 9 and data.seconds == manifest.seconds == data.train.seconds + data.heldout.seconds
    assert not {c.group for c in data.train.clips} & {c.group for c in data.heldout.clips}
    for clip in data.clips:
        source = tmp_path / clip.path
        assert clip.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
        audio = read_audio(source)
        assert clip.samples == len(audio) // HOP * HOP
        np.testing.assert_allclose(data.samples(clip), audio[: clip.samples], atol=2 / 32768)
        np.testing.assert_array_equal(data.read(clip, 500, 700), data.samples(clip)[500:1200])
    with pytest.raises(ValueError, match="samples"):
        data.read(data.clips[0], 1, data.clips[0].samples)


def damage(out: Path, what: str) -> None:
    shard, manifest = out / "shard-0000.i16", json.loads((out / MANIFEST).read_text())
    match what:
        case "truncated":
            os.truncate(shard, shard.stat().st_size - 2)
        case "flipped":
            with shard.open("r+b") as file:
                file.seek(1000)
                byte = file.read(1)
                file.seek(1000)
                file.write(bytes([byte[0] ^ 1]))
        case "no shard":
            shard.unlink()
        case "clip":
            manifest["clips"][0]["start"] = manifest["shards"][0]["samples"]
        case "field":
            del manifest["clips"][0]["group"]
        case "version":
            manifest["version"] = 2
        case "format":
            manifest = {"format": "something else"}
        case "rate":
            manifest["sample_rate"] = 16_000
        case "outside":
            manifest["shards"][0]["file"] = "../../secret"
        case "one side":
            for clip in manifest["clips"]:
                clip["split"] = "train"
    (out / MANIFEST).write_text(json.dumps(manifest) if what != "json" else "{")


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("truncated", "bytes and its manifest says"),
        ("flipped", "has changed since it was written"),
        ("no shard", "is missing"),
        ("clip", "is nowhere in the shards"),
        ("field", "missing required field `group`"),
        ("version", "version 2 of the format"),
        ("format", "not a manifest that"),
        ("rate", "16000 Hz"),
        ("outside", "is damaged: it calls shard 0"),
        ("one side", "nothing of the data is held out"),
        ("json", "is damaged"),
    ],
)
def test_damage_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, sentence: str) -> None:
    out = tmp_path / "data"
    prepare([speakers(tmp_path / "voices")], out)
    damage(out, what)
    assert run_main("train", "codec", out, "-o", tmp_path / "run") == 2
    assert sentence in one_line(capsys)
    if what in ("truncated", "flipped"):
        with pytest.raises(ValueError, match=sentence):
            prepare([tmp_path / "voices"], out)


@pytest.mark.parametrize("command", ["codec", "lm"])
def test_a_folder_of_audio_must_be_prepared_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    codec = ("--codec", ROOT / "engine" / "models" / "speech") if command == "lm" else ()
    root = speakers(tmp_path / "voices", 1, 1, 0.1)
    for folder, sentence in (
        (root, f"first run `whispergpt train prepare {root} -o DATA`"),
        (tmp_path, f"first run `whispergpt train prepare {tmp_path} -o DATA`"),
        (tmp_path / "none", "there is no folder"),
        (ROOT / "deploy", "holds no data that"),
    ):
        assert run_main("train", command, folder, "-o", tmp_path / "run", *codec) == 2
        assert sentence in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_two_folders_may_not_disagree_on_who_is_held_out(tmp_path: Path) -> None:
    first = speakers(tmp_path / "a" / "voices")
    second = speakers(tmp_path / "b" / "voices", 8)
    prepare([first], tmp_path / "first", heldout=1)
    prepare([second], tmp_path / "second", heldout=7)
    prepare([speakers(tmp_path / "others")], tmp_path / "third")
    with pytest.raises(ValueError, match="held out in another"):
        load_prepared([tmp_path / "first", tmp_path / "second"])
    both = load_prepared([tmp_path / "first", tmp_path / "third"])
    assert len(both.clips) == 16 and both.seconds == 128
    for clip in both.clips:
        assert np.abs(both.samples(clip)).max() > 0.1


def test_more_recordings_of_the_same_speakers_are_prepared_without_holding_any_out(tmp_path: Path) -> None:
    voices = speakers(tmp_path / "voices")
    held = prepare([voices], tmp_path / "data", heldout=1).manifest.heldout.groups[0]
    others = sorted(path for path in voices.iterdir() if f"voices/{path.name}" != held)
    more = tmp_path / "more" / "voices"
    for path in others:
        write(more / path.name / "later.wav", 31.0)
    assert prepare([more], tmp_path / "later", heldout=0).manifest.heldout.groups == []
    both = load_prepared([tmp_path / "data", tmp_path / "later"])
    assert {clip.group for clip in both.heldout.clips} == {held}
    assert {f"voices/{path.name}" for path in others} == {clip.group for clip in both.train.clips}
    with pytest.raises(ValueError, match="nothing of the data is held out.*give a folder beside that holds some out"):
        load_prepared([tmp_path / "later"])
    write(tmp_path / "one" / "voices" / others[0].name / "alone.wav", 61.0)
    assert len(prepare([tmp_path / "one" / "voices"], tmp_path / "alone", heldout=0).manifest.clips) == 1
