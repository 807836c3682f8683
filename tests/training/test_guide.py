"""Odds that lean on the distant past: what they are, and that a run learns them instead of recordings' codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from whispergpt.engine.checkpoints.checkpoint import LoadedModel, load_model
from whispergpt.training.lm.guide import LEAST, NEAR, Guide
from whispergpt.training.lm.own_sound import OWN
from whispergpt.training.lm.train_lm import ModelRecipe, train_lm
from whispergpt.training.tokens.token_crops import NO_TARGET, Batch
from whispergpt.training.tokens.tokens import Tokens

FRAMES = 3 * NEAR + 20


@pytest.fixture(scope="module")
def piano() -> LoadedModel:
    return load_model("piano", torch.device("cpu"))


def batch(frames: int) -> Batch:
    """Return two crops of random codes and slices."""
    draw = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 1024, (2, frames + 1, 8), generator=draw)
    return Batch(codes, torch.randn(2, frames, 80, generator=draw), codes[:, 1:, 0])


@pytest.mark.parametrize("frames", [NEAR // 2, NEAR, 2 * NEAR, FRAMES])
@torch.no_grad()
def test_odds_owe_more_to_the_distant_past(piano: LoadedModel, frames: int) -> None:
    crops, model = batch(frames), piano.step.model
    odds = Guide(model, 2.0).odds(crops)
    assert odds.shape == (2, frames, 1024) and torch.isfinite(odds).all()
    for frame in {0, frames // 2, min(frames, NEAR) - 1, frames - 1}:
        begin = max(0, (frame // NEAR - 1) * NEAR)
        heard = [(crops.codes[:, first : frame + 1, 0], crops.mels[:, first : frame + 1]) for first in (0, begin)]
        far, near = (model(*each)[:, -1].log_softmax(-1) for each in heard)
        wanted = (far + 2.0 * (far - near)).exp() * (far.exp() >= LEAST * far.exp().amax(-1, keepdim=True))
        assert torch.allclose(odds[:, frame], wanted / wanted.sum(-1, keepdim=True), atol=1e-3)
    if frames <= 2 * NEAR:  # then both have heard all
        far = model(crops.codes[:, :-1, 0], crops.mels).softmax(-1)
        kept = far * (far >= LEAST * far.amax(-1, keepdim=True))
        assert torch.allclose(odds, kept / kept.sum(-1, keepdim=True), atol=1e-4)


def tokens() -> Tokens:
    """Return tokens of random codes and slices."""
    draw, frames = np.random.default_rng(0), 400
    mels = {name: draw.normal(0, 1, (frames, 80)).astype(np.float16) for name in ("original", "decoded", "coarse", OWN)}
    return Tokens(draw.integers(0, 1024, (frames, 8)).astype(np.uint16), mels, [(0, frames)])


def test_what_leaves_a_stall_is_learnt_as_it_is(piano: LoadedModel) -> None:
    crops, guide = batch(20), Guide(piano.step.model, 1.0)
    targets = crops.targets.clone()
    targets[0, 5], targets[1, 7:] = (targets[0, 5] + 1) % 1024, NO_TARGET
    stalled = Batch(crops.codes, crops.mels, targets)
    logits = torch.randn(2, 20, 1024, generator=torch.Generator().manual_seed(1))
    told = -logits.log_softmax(-1)
    wanted = (guide.odds(crops) * told).sum(-1)
    wanted[0, 5] = told[0, 5, targets[0, 5]]
    assert float(guide.loss(logits, stalled)) == pytest.approx(float(wanted[targets >= 0].mean()), rel=1e-5)


def test_only_a_model_that_heard_such_slices_guides(piano: LoadedModel, tmp_path: Path) -> None:
    codec, config = piano.step.plain_codec, piano.step.model.config
    other = replace(config, mel=replace(config.mel, floor=1e-3))
    for start, wanted in ((None, config), (piano, other)):
        with pytest.raises(ValueError, match="a guide is a trained model"):
            train_lm([], [tokens()], codec, wanted, tmp_path, ModelRecipe(guide=1.0), "MIT", start=start)


def test_a_run_learns_them(piano: LoadedModel, tmp_path: Path) -> None:
    codec, config = piano.step.plain_codec, piano.step.model.config
    before = {name: weight.clone() for name, weight in piano.step.model.state_dict().items()}

    def train(weight: float, out: str) -> list[dict[str, float]]:
        recipe = ModelRecipe(steps=50, batch=1, crop_frames=FRAMES, warmup=1, peak_rate=3e-4, guide=weight)
        train_lm([tokens()], [tokens()], codec, config, tmp_path / out, recipe, "MIT", torch.device("cpu"), start=piano)
        return [json.loads(line) for line in (tmp_path / out / "log.jsonl").read_text().splitlines()]

    told = [line["guided"] for line in train(1.0, "with") if "guided" in line]
    assert len(told) == 2 and told[1] < told[0]
    assert not any("guided" in line for line in train(0.0, "without"))
    now = piano.step.model.state_dict()
    assert all(torch.equal(before[name], now[name]) for name in before), "the model that guides stays as it is"
