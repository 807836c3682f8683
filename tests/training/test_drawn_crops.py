"""A decoder learns to make a model's own codes sound: the finer ones are drawn, the coarse ones are a recording's."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.corpus import audio_set, one_line, run_main, shorten_codec_training, speakers
from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.checkpoints.checkpoint import LoadedModel, load_model, save_model
from whispergpt.engine.config import HOP, HYBRID, SMALL_CODEC, FineConfig, SamplingDefaults, StackConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.codec.drawn_crops import DrawnCrops
from whispergpt.training.codec.recipe import CodecRecipe
from whispergpt.training.codec.step import CodecStep
from whispergpt.training.codec.train import train_codec
from whispergpt.training.data.augmentation import Augmentation
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.prepare import prepare
from whispergpt.training.lm.own_voice import PROMPT_FRAMES

PLAIN = Augmentation(equalizer_share=0.0, room_share=0.0, noise_share=0.0)
RECIPE = CodecRecipe(
    steps=4,
    quantize_from=0,
    adversarial_from=0,
    adversary_alone=1,
    adversary_filters=2,
    start_from="model",
    batch=4,
    crop_frames=10,
    drawn_by="random",
    augmentation=PLAIN,
)
CPU = torch.device("cpu")


def some_model(seed: int, fine: bool = True) -> LoadedModel:
    torch.manual_seed(seed)
    config = replace(HYBRID, stack=StackConfig(256, 2, 4, 1, 256, 64), fine=FineConfig() if fine else None)
    step = FrameStep(Codec(SMALL_CODEC), WhisperGPT(config)).eval().requires_grad_(False)
    return LoadedModel("random", step, SamplingDefaults(), "unknown", "00000000")


def saved(model: LoadedModel, folder: Path) -> LoadedModel:
    """Write a model and read it again, which rounds its weights."""
    save_model(folder, model.step.model, model.step.codec, model.defaults, model.licence)
    return load_model(str(folder), CPU)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return some_model(3)


@pytest.fixture(scope="module")
def data() -> AudioSet:
    draw = np.random.default_rng(0)
    return audio_set([draw.normal(0, 3_000, HOP * frames).astype(np.int16) for frames in (150, 90, 40, 120)])


def test_a_crop_has_a_recordings_coarse_codes_and_finer_ones_of_the_model(
    model: LoadedModel, data: AudioSet, tmp_path: Path
) -> None:
    crops = DrawnCrops(data, model, tmp_path, RECIPE)
    batches = [crops.batch(step) for step in range(12)]
    codec = OfflineCodec(model.step.codec)
    whole = [data.samples(clip) for clip in data.clips]
    codes = [codec.encode(torch.from_numpy(samples)) for samples in whole]
    found = set()
    for batch in batches:
        assert batch.audio.shape == (2, 10 * HOP) and batch.codes.shape == (2, 8, 10)
        for audio, drawn in zip(batch.audio, batch.codes, strict=True):
            (place,) = (
                (number, start)
                for number, samples in enumerate(whole)
                for start in range(len(samples) // HOP - 9)
                if np.array_equal(samples[start * HOP :][: 10 * HOP], audio.numpy())
            )
            number, start = place
            recorded = codes[number][:, start : start + 10]
            assert start >= PROMPT_FRAMES, "what the model has heard as its prompt has the recording's codes"
            assert torch.equal(drawn[0], recorded[0])
            assert float((drawn[1:] == recorded[1:]).float().mean()) < 0.1, "a random model knows nothing of them"
            found.add(number)
    assert found == {0, 1, 3}, "the other recording is too short"
    again = DrawnCrops(data, model, tmp_path, RECIPE)
    assert all(torch.equal(again.batch(step).codes, batch.codes) for step, batch in enumerate(batches))
    assert len(list(tmp_path.iterdir())) == 1, "they are drawn once"


def test_only_the_decoder_learns_from_them_and_resumes(model: LoadedModel, data: AudioSet, tmp_path: Path) -> None:
    model = saved(model, tmp_path / "model")
    recipe = replace(RECIPE, start_from=str(tmp_path / "model"))
    drawn = DrawnCrops(data, model, tmp_path / "tokens", recipe)
    with pytest.MonkeyPatch.context() as patch:
        shorten_codec_training(patch, 26)
        for steps in (2, 4):
            train_codec(data, data, tmp_path / "parts", replace(recipe, steps=steps, held=1.0), drawn=drawn)
        train_codec(data, data, tmp_path / "whole", replace(recipe, held=1.0), drawn=drawn)
    before = model.step.codec.state_dict()
    parts, whole = (torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("parts", "whole"))
    for name, weight in whole["model"].items():
        torch.testing.assert_close(parts["model"][name], weight, rtol=0, atol=0)
        assert torch.equal(weight, before[name]) != name.startswith("decoder.") or "_codebook" in name, name
    lines = (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
    assert any("heldout_8" in json.loads(line) for line in lines)


def test_their_phase_costs_nothing(model: LoadedModel, data: AudioSet, tmp_path: Path) -> None:
    drawn = DrawnCrops(data, model, tmp_path, RECIPE).batch(0)
    losses = []
    for sign in (1.0, -1.0):
        torch.manual_seed(0)
        stepper = CodecStep(copy.deepcopy(model.step.codec).requires_grad_(), RECIPE, CPU, torch.float32)
        turned = replace(drawn, audio=sign * drawn.audio)
        stepper.learn(0, 1e-4, drawn.audio)
        losses.append({k: float(v.detach()) for k, v in stepper.learn(1, 1e-4, drawn.audio, turned).items()})
    one, other = losses
    assert one["drawn_total"] == pytest.approx(other["drawn_total"]) and one["drawn_total"] > 0
    assert one["total"] == pytest.approx(other["total"]), "the other crops are learnt from as before"
    assert one["drawn_features"] != pytest.approx(other["drawn_features"], rel=1e-6)


def test_codes_that_are_not_final_or_not_the_models_are_refused(
    model: LoadedModel, data: AudioSet, tmp_path: Path
) -> None:
    for change in ({"adversarial_from": 1}, {"start_from": None}, {"on_device": True}):
        with pytest.raises(ValueError, match="a decoder learns from drawn codes on the host alone, and in a run whose"):
            replace(RECIPE, **change)  # type: ignore[arg-type]
    drawn = DrawnCrops(data, model, tmp_path / "tokens", RECIPE)
    saved(some_model(4), tmp_path / "other")
    with pytest.raises(ValueError, match="other codes than the model that draws the finer ones"):
        recipe = replace(RECIPE, start_from=str(tmp_path / "other"))
        train_codec(data, data, tmp_path / "run", recipe, drawn=drawn)


def test_the_command_says_what_it_learnt_from(
    model: LoadedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_codec_training(monkeypatch, 14)
    prepare([speakers(tmp_path / "audio", count=2, files=1, seconds=31)], tmp_path / "data", heldout=1)
    saved(model, tmp_path / "model")
    saved(some_model(3, fine=False), tmp_path / "coarse")
    run = ("train", "codec", tmp_path / "data", "--device", "cpu", "--steps", 1, "--batch", 2, "-o", tmp_path / "run")
    of = ("--start-from", tmp_path / "model", "--drawn-by", tmp_path / "model")
    final = ("--quantize-from", 0, "--adversarial-from", 0, "--adversary-filters", 2)
    assert run_main(*run, *final, *of, "--drawn-share", 0.5) == 0
    recipe = json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]
    assert len(recipe["drawn_by"]) >= 8 and recipe["drawn_share"] == 0.5
    assert list((tmp_path / "data" / "tokens").glob("*.drawn.codes.npy"))
    capsys.readouterr()
    assert run_main(*run, *of) == 2
    assert "codebooks and adversary from step 0" in one_line(capsys)
    assert run_main(*run, *final, "--start-from", tmp_path / "coarse", "--drawn-by", tmp_path / "coarse") == 2
    assert "has no fine stage" in capsys.readouterr().err
