"""Scores of next-code prediction, and how sure they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F

from tests.support.audio import SAMPLE_RATE
from tests.support.corpus import one_line, run_main, speakers
from whispergpt.cli.main import main
from whispergpt.engine.checkpoints.checkpoint import save_model
from whispergpt.engine.config import GPT_S, HOP, HYBRID, SMALL_CODEC, SamplingDefaults, StackConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.lm.comparison import FEWEST_GROUPS, interval

Evaluate = Callable[..., dict[str, Any]]
SMALL_STACK = StackConfig(256, 1, 4, 1, 64, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers of two clips of a second and a half each, noise of different colours, and one file that is none."""
    root = tmp_path_factory.mktemp("voices")
    draw = np.random.default_rng(0)
    for speaker in range(6):
        (root / f"speaker{speaker}").mkdir()
        for clip in range(2):
            noise = np.cumsum(draw.normal(0, 0.01, 37_000 + 500 * speaker)) * 0.98
            soundfile.write(root / f"speaker{speaker}" / f"{clip}.wav", np.tanh(noise - noise.mean()), SAMPLE_RATE)
    (root / "speaker0" / "broken.wav").write_bytes(b"nothing")
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A hybrid and a token-only model on one codec."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    codec = Codec(SMALL_CODEC)
    with torch.no_grad():  # codebooks like those of a trained codec: every entry is somewhere else
        for entries in codec.quantizer.entries:
            entries.normal_(0, 0.1)
    configs = {"hybrid": replace(HYBRID, stack=SMALL_STACK), "tokens": replace(GPT_S, stack=SMALL_STACK)}
    for name, config in configs.items():
        save_model(root / name, WhisperGPT(config), codec, SamplingDefaults(), "unknown")
    return {name: str(root / name) for name in configs}


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each clip take two chunks."""
    monkeypatch.setattr("whispergpt.training.lm.evaluate.CHUNK_FRAMES", 100)


@pytest.fixture
def evaluate(folder: Path, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    def evaluate(*names: str, condition: str = "original") -> dict[str, Any]:
        chosen = [argument for name in names for argument in ("--model", name)]
        with pytest.raises(SystemExit) as ended:
            main(["eval", str(folder), *chosen, "--condition", condition, "--json"])
        assert not ended.value.code
        return dict(json.loads(capsys.readouterr().out))

    return evaluate


@pytest.mark.parametrize("condition", ["original", "decoded", "coarse"])
def test_scores_are_those_of_the_whole_sequence(
    folder: Path, models: dict[str, str], evaluate: Evaluate, condition: str
) -> None:
    """Against codec and model run over each whole file at once."""
    from whispergpt.engine.checkpoints.checkpoint import load_model

    step = load_model(models["hybrid"], torch.device("cpu")).step
    nll, frames = 0.0, 0
    for path in sorted(folder.rglob("[01].wav")):
        audio = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        audio = audio[: len(audio) // HOP * HOP]
        with torch.inference_mode():
            codes = step.codec.encode(audio[None, None])
            books = {"original": None, "decoded": codes, "coarse": codes[:, :1]}[condition]
            heard = audio[None] if books is None else step.codec.decode(books)[:, 0]
            logits = step.model(codes[:, 0], step.mel(heard))
        nll += float(F.cross_entropy(logits[0, :-1], codes[0, 0, 1:], reduction="sum"))
        frames += codes.shape[-1] - 1
    (row,) = evaluate(models["hybrid"], condition=condition)["models"]
    assert (row["files"], row["frames"]) == (12, frames)
    assert row["nll"] == pytest.approx(nll / frames, abs=2e-3)


def test_two_models_are_compared_on_the_same_groups(models: dict[str, str], evaluate: Evaluate) -> None:
    result = evaluate(models["hybrid"], models["tokens"], models["hybrid"])
    first, other, again = result["models"]
    assert result["grouping"] == "folder" and len(result["skipped"]) == 1
    assert "nll_above_first" not in first and first["groups"] == 6
    assert again["nll_above_first"] == 0 and again["nll_above_first_interval"] == [0, 0]
    low, high = other["nll_above_first_interval"]
    assert other["nll_above_first"] == pytest.approx(other["nll"] - first["nll"])
    assert low < other["nll_above_first"] < high
    low, high = first["nll_interval"]
    assert low < first["nll"] < high
    # What both models find hard cancels out.
    assert other["nll_above_first_interval"][1] - other["nll_above_first_interval"][0] < 2 * (high - low)


def test_of_a_prepared_folder_the_held_out_clips_are_scored(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio, data = speakers(tmp_path / "audio", count=4, files=2), tmp_path / "data"
    assert run_main("train", "prepare", audio, "-o", data, "--heldout", 1) == 0
    (held,) = json.loads((data / "manifest.json").read_text())["heldout"]["groups"]
    scores = {}
    for name, folder in (("prepared", data), ("files", audio / held.split("/")[1])):
        capsys.readouterr()
        assert run_main("eval", folder, "--model", models["hybrid"], "--json") == 0
        scores[name] = json.loads(capsys.readouterr().out)
    ours, files = (score["models"][0] for score in scores.values())
    assert scores["prepared"]["grouping"] == "folder" and ours["groups"] == 1
    assert ours["frames"] == files["frames"] and abs(ours["nll"] - files["nll"]) < 1e-3
    assert run_main("eval", data, "--model", models["hybrid"], "--group-by", "file") == 2
    assert "was prepared by folder" in one_line(capsys)


def test_a_token_model_hears_nothing(models: dict[str, str], evaluate: Evaluate) -> None:
    scores = {evaluate(models["tokens"], condition=name)["models"][0]["nll"] for name in ("original", "coarse")}
    assert len(scores) == 1


def test_the_table_is_for_people(
    folder: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit):
        main(["eval", str(folder), "--model", models["hybrid"], "--model", models["tokens"]])
    said = capsys.readouterr().out
    assert "NLL above hybrid" in said and "1 file skipped" in said and "6 groups (folder)" in said


# --- studies


def study(kind: str, folder: Path, *names: str, more: Sequence[str] = ()) -> int:
    chosen = [argument for name in names for argument in ("--model", name)]
    with pytest.raises(SystemExit) as ended:
        main(["train", "study", kind, str(folder), *chosen, *more, "--json"])
    return int(ended.value.code or 0)


def test_context_is_counted_from_cold_starts(
    folder: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert study("context", folder, models["hybrid"], models["tokens"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["model"] for row in rows] == ["hybrid", "tokens"]
    for row in rows:
        assert [cell["context"] for cell in row["by_context"]] == [[1, 1], [2, 3], [4, 7], [8, 15], [16, 31]]
        frames = [cell["frames"] for cell in row["by_context"]]
        assert frames[0] > 0 and all(more > fewer for fewer, more in pairwise(frames))
        for cell in row["by_context"]:
            low, high = cell["interval"]
            assert low - 1e-9 <= cell["nll"] <= high + 1e-9


def test_bands_are_worth_what_is_lost_without(
    folder: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str], evaluate: Evaluate
) -> None:
    assert study("bands", folder, models["hybrid"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["models"]
    assert row["nll"] == pytest.approx(evaluate(models["hybrid"])["models"][0]["nll"])
    lost = row["lost_without"]
    assert [cell["bins"] for cell in lost] == [[first, first + 9] for first in range(0, 80, 10)]
    assert lost[0]["hz"][0] == 40 and lost[-1]["hz"][1] == 12_000
    assert all(below["hz"][1] > above["hz"][0] for below, above in pairwise(lost))
    assert all(cell["nll"] != 0 for cell in [*lost, row["lost_without_all"]])


def test_studies_are_drawn(
    folder: Path, models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, names in (("context", ("hybrid", "tokens")), ("bands", ("hybrid",))):
        picture = tmp_path / f"{kind}.svg"
        assert study(kind, folder, *(models[name] for name in names), more=["--plot", str(picture)]) == 0
        drawn = picture.read_text()
        assert all(f"<!-- {name} -->" in drawn for name in names) and "<!-- slices of original audio -->" in drawn
    capsys.readouterr()
    assert study("bands", folder, models["hybrid"], more=["--plot", str(tmp_path / "no" / "bands.svg")]) == 2
    assert "There is no folder" in one_line(capsys)


def test_a_token_model_has_no_bands(folder: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert study("bands", folder, models["tokens"]) == 2
    assert "tokens: a token-only model has no spectrogram" in capsys.readouterr().err


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    draw = np.random.default_rng(1)
    held = 0
    for trial in range(200):
        frames = draw.integers(50, 150, 30).astype(float)
        groups = draw.normal(3.0, 0.3, 30)  # what a group's NLL is on average
        bounds = interval(groups * frames, frames, seed=trial)
        assert bounds is not None
        held += bounds[0] < 3.0 < bounds[1]
    assert 0.88 < held / 200 < 0.99


def test_few_groups_have_no_interval() -> None:
    few = np.ones(FEWEST_GROUPS - 1)
    assert interval(few, few) is None
