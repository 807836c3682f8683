"""Crops from one codebook that are judged by their mel spectra alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from whispergpt.engine.config import SMALL_CODEC
from whispergpt.engine.model.codec import Codec
from whispergpt.training.codec.losses import ReconstructionLoss, partly_without_phase
from whispergpt.training.codec.recipe import CodecRecipe
from whispergpt.training.codec.step import CodecStep

CPU = torch.device("cpu")
RECIPE = CodecRecipe(
    quantize_from=1,
    batch=4,
    coarse_share=0.5,
    full_share=0.3,
    coarse_by_mel=True,
    adversarial_from=2,
    adversary_alone=0,
)


def noise(batch: int, seed: int) -> torch.Tensor:
    return torch.randn(batch, 9_600, generator=torch.Generator().manual_seed(seed)) * 0.1


def test_the_phase_counts_behind_the_first_crops_alone() -> None:
    loss_of = ReconstructionLoss()
    made, audio = noise(4, 0), noise(4, 1)
    before = partly_without_phase(loss_of, made, audio, 2)
    turned = partly_without_phase(loss_of, made, audio * torch.tensor([-1.0, -1.0, 1.0, 1.0])[:, None], 2)
    assert turned["total"].item() == pytest.approx(before["total"].item(), rel=1e-6)
    turned = partly_without_phase(loss_of, made, audio * torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None], 2)
    assert turned["total"].item() != pytest.approx(before["total"].item(), rel=1e-3)


def test_every_crop_counts_alike() -> None:
    """One of four crops has a quarter of the total, and the mel terms of all rise with their weight."""
    loss_of = ReconstructionLoss()
    made, audio = noise(4, 0), noise(4, 1)
    terms = partly_without_phase(loss_of, made, audio, 1, 0.5)
    rest = loss_of(made[1:], audio[1:], 0.5)
    first = loss_of(made[:1], audio[:1])
    coarse = 0.5 * 2.0 * first["mel"] + 8.0 * first["loudness"]
    assert terms["coarse"].item() == pytest.approx(coarse.item(), rel=1e-5)
    assert terms["total"].item() == pytest.approx((0.25 * coarse + 0.75 * rest["total"]).item(), rel=1e-5)
    assert terms["phase"].item() == rest["phase"].item()
    assert partly_without_phase(loss_of, made, audio, 0)["total"].item() == loss_of(made, audio)["total"].item()


def test_each_step_has_as_many_of_them_and_the_shares_of_the_others() -> None:
    stepper = CodecStep(Codec(SMALL_CODEC), RECIPE, CPU, torch.float32)
    torch.manual_seed(0)
    used = stepper.draw_codebooks_used(20_000)
    assert bool((used[:10_000] == 1).all())
    shares = torch.bincount(used[10_000:], minlength=9) / 10_000
    assert float(shares[:2].sum()) == 0
    assert float(shares[8]) == pytest.approx(0.6 + 0.4 / 7, abs=0.02)
    assert shares[2:8].tolist() == pytest.approx([0.4 / 7] * 6, abs=0.01)


def test_they_are_in_every_stage_that_has_codes() -> None:
    torch.manual_seed(0)
    stepper = CodecStep(Codec(SMALL_CODEC), RECIPE, CPU, torch.float32)
    assert ["coarse" in stepper.learn(step, 1e-4, noise(4, step)) for step in range(3)] == [False, True, True]
    usual = CodecStep(Codec(SMALL_CODEC), replace(RECIPE, coarse_by_mel=False), CPU, torch.float32)
    assert "coarse" not in usual.learn(1, 1e-4, noise(4, 1))


def test_the_codes_learn_from_them() -> None:
    """The encoder follows the mel terms of crops that are decoded from one codebook."""
    torch.manual_seed(0)
    stepper = CodecStep(Codec(SMALL_CODEC), replace(RECIPE, adversarial_from=None), CPU, torch.float32)
    audio = noise(4, 0)
    kind = stepper.recipe.kind(1)
    losses = []
    for step in range(30):
        stepper.begin(step, 1e-3)
        used = torch.tensor([1, 1, 8, 8])
        losses.append(float(stepper.compute(kind, audio, used, 1.0)["coarse"].detach()))
    assert losses[-1] < 0.9 * losses[0]
