"""A decoder learns to make a model's own codes sound: the finer ones are drawn, the coarse ones are a recording's."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.corpus import audio_set, one_line, run_main, shorten_codec_training, speakers
from tests.support.random_model import random_model, saved
from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.checkpoints.checkpoint import LoadedModel, load_model
from whispergpt.engine.config import HOP, FineConfig
from whispergpt.training.codec import drawn_codes
from whispergpt.training.codec.drawn_batch import LEAD_FRAMES
from whispergpt.training.codec.drawn_codes import Codes, DrawnCodes, stretches_of
from whispergpt.training.codec.drawn_crops import DrawnCrops
from whispergpt.training.codec.recipe import CodecRecipe
from whispergpt.training.codec.step import CodecStep
from whispergpt.training.codec.train import train_codec
from whispergpt.training.data.augmentation import Augmentation
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.prepare import prepare
from whispergpt.training.tokens import token_files
from whispergpt.training.tokens.own_voice import PROMPT_FRAMES, OwnVoice, Spoken
from whispergpt.training.tokens.tokens import codec_digest

PLAIN = Augmentation(equalizer_share=0.0, room_share=0.0, noise_share=0.0)
STAGE = dict[str, Any](
    steps=4,
    quantize_from=0,
    adversarial_from=0,
    adversary_alone=1,
    adversary_filters=2,
    batch=4,
    crop_frames=10,
    drawn_by="random",
    augmentation=PLAIN,
)
"""Fields of a recipe whose codes are final; it lacks what it starts from."""
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["drawn", "nearest"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    fine = FineConfig(kind=request.param)
    return saved(random_model(3, fine), tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> LoadedModel:
    return load_model(str(folder), CPU)


@pytest.fixture(scope="module")
def recipe(model: LoadedModel) -> CodecRecipe:
    return CodecRecipe(**STAGE, start_from=codec_digest(model.step.plain_codec))


@pytest.fixture(scope="module")
def data() -> AudioSet:
    draw = np.random.default_rng(0)
    return audio_set([draw.normal(0, 3_000, HOP * frames).astype(np.int16) for frames in (150, 90, 40, 320)])


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings of more than 110 frames are cut: the last one into two stretches that are long enough."""
    monkeypatch.setattr(drawn_codes, "STRETCH_FRAMES", 110)


def test_a_crop_has_a_recordings_coarse_codes_and_finer_ones_of_the_model(
    model: LoadedModel, data: AudioSet, recipe: CodecRecipe, tmp_path: Path, short_stretches: None
) -> None:
    crops = DrawnCrops(data, model, model.step.plain_codec, tmp_path, recipe)
    batches = [crops.batch(step) for step in range(24)]
    codec = OfflineCodec(model.step.codec)
    whole = [data.samples(clip) for clip in stretches_of(data).clips]
    assert [len(samples) // HOP for samples in whole] == [110, 110, 110, 100, 90, 40, 40]
    codes = [codec.encode(torch.from_numpy(samples)) for samples in whole]
    found = set()
    for batch in batches:
        assert batch.audio.shape == (2, 10 * HOP) and batch.codes.shape == (2, 8, LEAD_FRAMES + 10)
        for audio, drawn in zip(batch.audio, batch.codes, strict=True):
            (place,) = (
                (number, start)
                for number, samples in enumerate(whole)
                for start in range(len(samples) // HOP - 9)
                if np.array_equal(samples[start * HOP :][: 10 * HOP], audio.numpy())
            )
            number, start = place
            recorded = codes[number][:, start - LEAD_FRAMES : start + 10]
            assert start >= PROMPT_FRAMES, "what the model has heard as its prompt has the recording's codes"
            assert torch.equal(drawn[0], recorded[0])
            same = (drawn[1:, LEAD_FRAMES:] == recorded[1:, LEAD_FRAMES:]).float().mean()
            assert float(same) < 0.1, "a random model knows nothing of them"
            found.add(number)
    assert found == {0, 1, 2, 3, 4}, "the others are too short"
    again = DrawnCrops(data, model, model.step.plain_codec, tmp_path, recipe)
    assert all(torch.equal(again.batch(step).codes, batch.codes) for step, batch in enumerate(batches))
    assert len(list(tmp_path.glob("*.npy"))) == 1, "they are drawn once"


def test_they_are_drawn_once_though_interrupted(
    model: LoadedModel, data: AudioSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_stretches: None
) -> None:
    monkeypatch.setattr(drawn_codes, "SLOTS", 2)
    monkeypatch.setattr(token_files, "FLUSH_EVERY", 1)
    stretches, spoken, speak = stretches_of(data), list[int](), OwnVoice.speak

    def spoken_once_or_twice(voice: OwnVoice, codes: list[Codes]) -> list[Spoken]:
        if len(spoken) == 2:
            raise KeyboardInterrupt
        spoken.append(len(codes))
        return speak(voice, codes)

    whole = DrawnCodes(stretches, model, tmp_path / "whole")
    monkeypatch.setattr(OwnVoice, "speak", spoken_once_or_twice)
    with pytest.raises(KeyboardInterrupt):
        DrawnCodes(stretches, model, tmp_path / "parts")
    monkeypatch.setattr(OwnVoice, "speak", lambda voice, codes: spoken.append(len(codes)) or speak(voice, codes))
    parts = DrawnCodes(stretches, model, tmp_path / "parts")
    assert spoken == [2, 2, 2, 1]
    assert all((parts.of(number) == whole.of(number)).all() for number in range(len(stretches.clips)))


def test_only_the_decoder_learns_from_them_and_resumes(
    model: LoadedModel, data: AudioSet, recipe: CodecRecipe, tmp_path: Path
) -> None:
    start = model.step.plain_codec
    drawn = DrawnCrops(data, model, start, tmp_path / "tokens", recipe)
    with pytest.MonkeyPatch.context() as patch:
        shorten_codec_training(patch, 26)
        for steps in (2, 4):
            longer = replace(recipe, steps=steps, held=1.0)
            train_codec(data, data, tmp_path / "parts", longer, start=start, drawn=drawn)
        train_codec(data, data, tmp_path / "whole", replace(recipe, held=1.0), start=start, drawn=drawn)
    before = model.step.codec.state_dict()
    parts, whole = (torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("parts", "whole"))
    for name, weight in whole["model"].items():
        torch.testing.assert_close(parts["model"][name], weight, rtol=0, atol=0)
        assert torch.equal(weight, before[name]) != name.startswith("decoder.") or "_codebook" in name, name
    lines = (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
    assert any("heldout_8" in json.loads(line) for line in lines)


def test_their_phase_costs_nothing(model: LoadedModel, data: AudioSet, recipe: CodecRecipe, tmp_path: Path) -> None:
    """In the reconstruction's loss; the discriminators hear it."""
    drawn = DrawnCrops(data, model, model.step.plain_codec, tmp_path, recipe).batch(0)
    losses = []
    for sign in (1.0, -1.0):
        torch.manual_seed(0)
        stepper = CodecStep(copy.deepcopy(model.step.codec).requires_grad_(), recipe, CPU, torch.float32)
        turned = replace(drawn, audio=sign * drawn.audio)
        stepper.learn(0, 1e-4, drawn.audio)
        losses.append({k: float(v.detach()) for k, v in stepper.learn(1, 1e-4, drawn.audio, turned).items()})
    one, other = losses
    assert one["drawn_total"] == pytest.approx(other["drawn_total"]) and one["drawn_total"] > 0
    assert one["total"] == pytest.approx(other["total"]), "the other crops are learnt from as before"
    assert one["drawn_features"] != pytest.approx(other["drawn_features"], rel=1e-6)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"adversarial_from": 1}, "drawn codes are for a codec whose codes are final: give --start-from"),
        ({"start_from": None}, "drawn codes are for a codec whose codes are final: give --start-from"),
        ({"on_device": True}, "give --preset cpu"),
        ({"batch": 1}, "for some of the crops, not for all or none: more --batch, another share"),
        ({"drawn_share": 1.0}, "for some of the crops, not for all or none: more --batch, another share"),
        ({"drawn_share": 0.0}, "for some of the crops, not for all or none: more --batch, another share"),
        ({"drawn_by": None, "drawn_share": 0.5}, "drawn_share without a model whose codes are drawn"),
    ],
)
def test_a_recipe_that_cannot_have_them_is_refused(recipe: CodecRecipe, change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(recipe, **change)


def test_a_run_gets_those_that_its_recipe_names(
    model: LoadedModel, data: AudioSet, recipe: CodecRecipe, tmp_path: Path
) -> None:
    start, other = model.step.plain_codec, random_model(4, FineConfig()).step.plain_codec
    with pytest.raises(ValueError, match="not the same codes"):
        DrawnCrops(data, model, other, tmp_path / "tokens", recipe)
    assert not (tmp_path / "tokens").exists(), "nothing is drawn before that is known"
    with pytest.raises(ValueError, match="names the model whose drawn codes it learns from"):
        train_codec(data, data, tmp_path / "run", recipe, start=start)
    drawn = DrawnCrops(data, model, model.step.plain_codec, tmp_path / "tokens", recipe)
    with pytest.raises(ValueError, match="names the model whose drawn codes it learns from"):
        train_codec(data, data, tmp_path / "run", replace(recipe, drawn_by=None), start=start, drawn=drawn)
    for wrong in (None, other):
        with pytest.raises(ValueError, match="not the one that the recipe names"):
            train_codec(data, data, tmp_path / "run", recipe, start=wrong, drawn=drawn)


def test_a_model_that_draws_no_numbers_is_told(model: LoadedModel) -> None:
    broken = replace(model, step=copy.deepcopy(model.step))
    broken.step.codec.decoder.load_state_dict(
        {name: torch.full_like(weight, torch.nan) for name, weight in broken.step.codec.decoder.state_dict().items()}
    )
    with pytest.raises(ValueError, match="not finite"):
        OwnVoice(broken, 0.1).speak([np.zeros((PROMPT_FRAMES + 3, 8), np.uint16)])


def test_the_command_says_what_it_learnt_from(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_codec_training(monkeypatch, 14)
    prepare([speakers(tmp_path / "audio", count=2, files=1, seconds=31)], tmp_path / "data", heldout=1)
    saved(random_model(3, None), tmp_path / "coarse")
    run = ("train", "codec", tmp_path / "data", "--device", "cpu", "--steps", 1, "--batch", 2, "-o", tmp_path / "run")
    of = ("--start-from", folder, "--drawn-by", folder)
    final = ("--quantize-from", 0, "--adversarial-from", 0, "--adversary-filters", 2)
    assert run_main(*run, *final, *of, "--drawn-share", 0.5) == 0
    recipe = json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]
    assert len(recipe["drawn_by"]) >= 8 and recipe["drawn_share"] == 0.5
    assert list((tmp_path / "data" / "tokens").glob("*.drawn.codes.npy"))
    capsys.readouterr()
    assert run_main(*run, *of) == 2
    assert "--quantize-from 0 and --adversarial-from 0" in one_line(capsys)
    assert run_main(*run, *final, *of, "--preset", "gpu") == 2
    assert "--preset cpu" in one_line(capsys)
    assert run_main(*run, "--drawn-share", 0.5) == 2
    assert "without a model whose codes are drawn" in one_line(capsys)
    assert run_main(*run, *final, "--start-from", tmp_path / "coarse", "--drawn-by", tmp_path / "coarse") == 2
    assert "has no fine stage" in capsys.readouterr().err
