"""Installed models: what a run made gets a name, and a codec that is there already is shared, never confused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.corpus import run_main
from whispergpt.engine.checkpoints import checkpoint
from whispergpt.engine.checkpoints import installed as models_at
from whispergpt.engine.checkpoints.checkpoint import ModelError, load_model, save_model
from whispergpt.engine.checkpoints.installed import default_models, installed_models
from whispergpt.engine.config import GPT_S, HYBRID, SMALL_CODEC, ModelConfig, SamplingDefaults
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training import install

CPU = torch.device("cpu")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for installed models with nothing in it."""
    folder = tmp_path / "installed"
    folder.mkdir()
    for module in (checkpoint, models_at, install):
        monkeypatch.setattr(module, "INSTALLED", folder)
    return folder


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str, ModelConfig, int], Path]:
    """Makes the folder of a run: a name, a model, and the seed of its codec."""

    def made(name: str, config: ModelConfig, codec: int) -> Path:
        torch.manual_seed(codec)
        weights = Codec(SMALL_CODEC)
        save_model(tmp_path / name, WhisperGPT(config), weights, SamplingDefaults(), "CC0-1.0")
        (tmp_path / name / "log.jsonl").write_text('{"step": 1}\n')
        return tmp_path / name

    return made


def test_models_of_one_codec_share_it(
    installed: Path, make: Callable[[str, ModelConfig, int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for run, name in ((make("one", HYBRID, 0), "speech"), (make("two", GPT_S, 0), "speech-gpt-s")):
        assert run_main("train", "install", str(run), "--name", name) == 0
    assert run_main("train", "install", str(make("three", GPT_S, 1)), "--name", "other") == 0
    assert sum(1 for folder in installed.iterdir() if (folder / "codec.safetensors").exists()) == 2
    assert not (installed / "speech-gpt-s" / "codec.safetensors").exists()
    assert (installed / "speech-gpt-s" / "log-model.jsonl").read_text() == '{"step": 1}\n'
    shared, own = load_model("speech-gpt-s", CPU), load_model("speech", CPU)
    other = load_model("other", CPU)
    for name, weight in own.step.codec.state_dict().items():
        assert torch.equal(weight, shared.step.codec.state_dict()[name])
    assert any(
        not torch.equal(weight, other.step.codec.state_dict()[name])
        for name, weight in own.step.codec.state_dict().items()
    )
    assert len({shared.digest, own.digest, other.digest}) == 3
    assert installed_models() == ["speech", "other", "speech-gpt-s"]
    assert default_models() == ["speech"], "served unless others are named"
    capsys.readouterr()
    assert run_main("train", "install", str(run), "--name", "speech") == 2
    assert "there is a model 'speech' already; --replace puts this one in its place" in capsys.readouterr().err
    assert run_main("train", "install", str(run), "--name", "../speech") == 2
    assert "'../speech' cannot be the name of a model" in capsys.readouterr().err


def test_a_lent_codec_is_found_beside_the_model_first(
    installed: Path, make: Callable[[str, ModelConfig, int], Path]
) -> None:
    """So that a folder of models can be moved to another machine whole."""
    for run, name in ((make("one", HYBRID, 0), "voices"), (make("two", GPT_S, 0), "borrower")):
        install.install_model(run, name)
    moved = installed.rename(installed.parent / "moved")
    assert load_model(str(moved / "borrower"), CPU).step.codec.config == SMALL_CODEC


def test_a_codec_that_is_not_the_one_is_refused(installed: Path, make: Callable[[str, ModelConfig, int], Path]) -> None:
    for run, name in ((make("one", HYBRID, 0), "lender"), (make("two", GPT_S, 0), "borrower")):
        install.install_model(run, name)
    install.install_model(make("three", HYBRID, 1), "lender", replacing=True)
    with pytest.raises(ModelError, match="borrower was trained on another codec than .*lender.* is now"):
        load_model("borrower", CPU)
    shutil.rmtree(installed / "lender")
    with pytest.raises(ModelError, match="uses the codec of 'lender', which is neither beside it nor installed"):
        load_model("borrower", CPU)
    config = json.loads((installed / "borrower" / "config.json").read_text())
    config["codec"]["of"] = "../three"
    (installed / "borrower" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="uses the codec of '../three', which is neither"):
        load_model("borrower", CPU)
