"""The last stage of a codec's training: discriminators, balanced losses, a decoder that learns alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.corpus import shorten_codec_training
from whispergpt.engine.checkpoints.checkpoint import load_codec
from whispergpt.engine.config import SMALL_CODEC
from whispergpt.engine.model.codec import Codec
from whispergpt.training.codec.adversary import Adversary
from whispergpt.training.codec.balancer import Balancer
from whispergpt.training.codec.recipe import CodecRecipe
from whispergpt.training.codec.step import CodecStep
from whispergpt.training.codec.train import train_codec
from whispergpt.training.data.augmentation import Augmentation
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip
from whispergpt.training.tokens.tokens import codec_digest

CPU = torch.device("cpu")


def noise(batch: int, seed: int) -> torch.Tensor:
    return 0.1 * torch.randn(batch, 4_800, generator=torch.Generator().manual_seed(seed))


def test_discriminators_learn_to_tell_a_low_pass() -> None:
    torch.manual_seed(0)
    adversary = Adversary(windows=(512, 256), filters=4)
    optimizer = torch.optim.Adam(adversary.parameters(), lr=3e-3)

    def dull(sound: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool1d(sound[:, None], 9, 1, 4)[:, 0]

    before = float(adversary.own_loss(dull(noise(4, 0)), noise(4, 1)).detach())
    for step in range(60):
        loss = adversary.own_loss(dull(noise(4, 2 * step)), noise(4, 2 * step + 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3 * before
    made = dull(noise(4, 999)).requires_grad_()
    judged = adversary.losses(made, noise(4, 1000))
    same = adversary.losses(noise(4, 1000), noise(4, 1000))
    assert float(judged["features"].detach()) > 0.1 and float(same["features"]) == 0
    assert float(judged["adversarial"].detach()) > 2 * float(same["adversarial"])


def test_a_run_begins_with_the_discriminators_of_another() -> None:
    torch.manual_seed(0)
    recipe = CodecRecipe(quantize_from=0, adversarial_from=0, adversary_filters=4)
    one, two = (CodecStep(Codec(SMALL_CODEC), recipe, CPU, torch.float32) for _ in range(2))
    known = one.parts["adversary"].state_dict()
    two.begin_adversary(known)
    begun = two.parts["adversary"].state_dict()
    assert all(torch.equal(begun[name], weight) for name, weight in known.items())
    wider = CodecStep(Codec(SMALL_CODEC), replace(recipe, adversary_filters=6), CPU, torch.float32)
    with pytest.raises(ValueError, match="of another size"):
        wider.begin_adversary(known)
    with pytest.raises(ValueError, match="adversary_of belong to a stage against an adversary"):
        CodecRecipe(adversary_of="01234567")


def test_the_balancer_gives_shares_whatever_the_scale() -> None:
    weights = torch.ones(3, 5, requires_grad=True)
    output = weights * 2
    balancer = Balancer({"a": 3.0, "b": 1.0})
    balancer.backward({"a": 1e6 * output[:, 0].sum(), "b": 1e-6 * output[:, 1].sum()}, output)
    assert weights.grad is not None
    torch.testing.assert_close(weights.grad[:, :3] / 2, torch.tensor([[0.75, 0.25, 0.0]]).expand(3, 3))


def test_against_the_adversary_only_the_decoder_learns() -> None:
    torch.manual_seed(0)
    codec = Codec(SMALL_CODEC)
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    stepper = CodecStep(
        codec, CodecRecipe(quantize_from=0, adversarial_from=1, adversary_alone=1, batch=2), CPU, torch.float32
    )
    judge = {name: value.clone() for name, value in stepper.parts["adversary"].state_dict().items()}
    stepper.learn(1, 1e-4, noise(2, 0))
    assert all(torch.equal(value, before[name]) for name, value in codec.state_dict().items())
    learnt = stepper.parts["adversary"].state_dict()
    assert not all(torch.equal(learnt[name], value) for name, value in judge.items())
    terms = stepper.learn(2, 1e-4, noise(2, 0))
    assert {"adversary", "adversarial", "features", "total"} <= set(terms)
    changed = {name.split(".")[0] for name, value in codec.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"decoder"}
    stepper.learn(0, 1e-4, noise(2, 0))
    changed = {name.split(".")[0] for name, value in codec.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"decoder", "encoder", "quantizer"}


def test_bfloat16_products_give_nearly_the_same_loss() -> None:
    """On processors without units for it too: slow there, not wrong."""
    losses = []
    for autocast in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        stepper = CodecStep(Codec(SMALL_CODEC), CodecRecipe(quantize_from=9, batch=2), CPU, autocast)
        losses.append([float(stepper.learn(step, 1e-4, noise(2, step))["total"].detach()) for step in range(2)])
        assert all(p.dtype == torch.float32 for p in stepper.codec.parameters())
    assert losses[0] == pytest.approx(losses[1], rel=0.15) and losses[0] != losses[1]


def test_stages_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="the adversary comes in at step 10, before the codebooks at 20"):
        CodecRecipe(quantize_from=20, adversarial_from=10)


def test_shares_of_more_than_all_crops_are_refused() -> None:
    CodecRecipe(coarse_share=0.6, full_share=0.4)
    with pytest.raises(ValueError, match="0.6 of the crops from one codebook and 0.5 from all are too many"):
        CodecRecipe(coarse_share=0.6)


def test_crops_judged_by_mel_alone_must_be_some_of_every_step() -> None:
    CodecRecipe(coarse_share=0.5, full_share=0.3, coarse_by_mel=True)
    with pytest.raises(ValueError, match="0.05 of 8 crops from one codebook are none or all of them"):
        CodecRecipe(coarse_share=0.05, coarse_by_mel=True)
    with pytest.raises(ValueError, match="1 of 8 crops from one codebook are none or all of them"):
        CodecRecipe(coarse_share=1.0, full_share=0.0, coarse_by_mel=True)
    with pytest.raises(ValueError, match="0.25 of 2 crops from one codebook"):
        CodecRecipe(coarse_by_mel=True, adversarial_from=20_000, adversary_batch=2)


def test_a_trained_codec_is_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_codec_training(monkeypatch, 26)
    sound = (3_000 * np.sin(np.arange(24_000) / 9)).astype(np.int16)
    data = AudioSet([Clip("a", "", "g", "train", 0, 0, len(sound))], [sound], [0])
    plain = Augmentation(equalizer_share=0.0, room_share=0.0, noise_share=0.0)
    first = CodecRecipe(steps=2, quantize_from=1, batch=2, crop_frames=20, augmentation=plain)
    train_codec(data, data, tmp_path / "first", first)
    more = CodecRecipe(
        steps=1,
        quantize_from=0,
        adversarial_from=0,
        adversary_alone=0,
        batch=2,
        augmentation=plain,
        start_from=codec_digest(load_codec(tmp_path / "first")),
    )
    train_codec(data, data, tmp_path / "more", more, start=load_codec(tmp_path / "first"))
    one, two = (load_codec(tmp_path / name) for name in ("first", "more"))
    for a, b in zip(one.quantizer.entries, two.quantizer.entries, strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(a, b) for a, b in zip(one.encoder.parameters(), two.encoder.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.decoder.parameters(), two.decoder.parameters(), strict=True))
