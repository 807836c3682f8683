"""The mean of two models: a model of the same sizes, which lies between both by the share that was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.corpus import one_line, run_main
from tests.support.random_model import random_model, saved
from whispergpt.engine.checkpoints.checkpoint import LoadedModel, load_codec, load_model, save_codec
from whispergpt.engine.config import SMALL_CODEC, FineConfig, SamplingDefaults
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.training.lm.own_decoder import with_decoder

DRAWN = FineConfig()
DEFAULTS = SamplingDefaults(temperature=0.75)


def a_model(seed: int, fine: FineConfig, decoder: int | None = None) -> LoadedModel:
    """Return a model on one codec, with a decoder of its own if ``decoder`` is a seed."""
    codec = random_model(3, None).step.codec
    model = random_model(seed, fine)
    model = replace(model, step=FrameStep(codec, model.step.model).eval())
    if decoder is None:
        return model
    torch.manual_seed(decoder)
    return with_decoder(model, codec.through(Codec(codec.config).decoder))


def test_a_mean_lies_between_two_models(tmp_path: Path) -> None:
    first = replace(a_model(3, FineConfig(temperature=0.25), decoder=1), defaults=DEFAULTS, licence="CC0")
    other = replace(a_model(4, FineConfig(temperature=0.5), decoder=2), licence="CC0")
    saved(first, tmp_path / "first")
    saved(other, tmp_path / "other")

    def mean(*more: object) -> LoadedModel:
        arguments = (tmp_path / "first", tmp_path / "other", "-o", tmp_path / "mean", *more)
        assert run_main("train", "mean", *arguments) == 0
        return load_model(str(tmp_path / "mean"), torch.device("cpu"))

    ours, theirs = first.step.model.state_dict(), other.step.model.state_dict()
    for share in (None, 0, 0.25, 1):
        made = mean(*(() if share is None else ("--share", share)))
        for name, weight in made.step.model.state_dict().items():
            expected = ours[name].lerp(theirs[name], 0.5 if share is None else share)
            torch.testing.assert_close(weight, expected, rtol=2e-3, atol=2e-4)  # they are kept in half precision
        assert (made.defaults, made.licence) == (DEFAULTS, "CC0")
        assert made.step.model.config == first.step.model.config
    assert any(name.startswith("decoder.") for name in ours)
    lent = (tmp_path / "mean/codec.safetensors").read_bytes()
    assert lent == (tmp_path / "first/codec.safetensors").read_bytes()


def test_a_mean_of_codecs_lies_between_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a model's codec and a run's, say; a folder with a model in it is not written to."""
    first, other = a_model(3, DRAWN), random_model(4, None).step.plain_codec
    with torch.no_grad():
        other.quantizer.codebooks[0].embed.normal_()
    saved(first, tmp_path / "first")
    save_codec(other, tmp_path / "run")
    mean = ("train", "mean", tmp_path / "first", tmp_path / "run", "--codec", "--share", 0.25, "-o")
    assert run_main(*mean, tmp_path / "new" / "mean") == 0
    ours, theirs = first.step.plain_codec.state_dict(), other.state_dict()
    made = load_codec(tmp_path / "new" / "mean")
    for name, weight in made.state_dict().items():
        if name.startswith(("encoder.", "decoder.")) or name.endswith(".embed"):
            torch.testing.assert_close(weight, ours[name].lerp(theirs[name], 0.25), rtol=2e-3, atol=2e-3)
    before = (tmp_path / "first" / "config.json").read_bytes()
    assert run_main(*mean, tmp_path / "first") == 2
    assert "has a model in it: choose another folder with -o" in one_line(capsys)
    assert (tmp_path / "first" / "config.json").read_bytes() == before
    save_codec(Codec(replace(SMALL_CODEC, n_codebooks=4)), tmp_path / "run")
    assert run_main(*mean, tmp_path / "none") == 2
    assert "do not have the same sizes" in one_line(capsys)


@pytest.mark.parametrize("what", ["codes", "sizes", "licence"])
def test_models_without_a_mean_are_told(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = {
        "codes": random_model(4, DRAWN),
        "sizes": a_model(4, FineConfig(kind="nearest")),
        "licence": replace(a_model(4, DRAWN), licence="CC-BY-NC-4.0"),
    }[what]
    saved(a_model(3, DRAWN), tmp_path / "first")
    saved(other, tmp_path / "other")
    assert run_main("train", "mean", tmp_path / "first", tmp_path / "other", "-o", tmp_path / "mean") == 2
    assert f"first and other do not have the same {what}, so they cannot be averaged" in one_line(capsys)
    assert not (tmp_path / "mean").exists()


@pytest.mark.parametrize("share", ["nan", "-0.1", "1.1"])
def test_a_share_lies_between_none_and_all(share: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(a_model(3, DRAWN), tmp_path / "first")
    mean = ("train", "mean", tmp_path / "first", tmp_path / "first", "-o", tmp_path / "mean", f"--share={share}")
    assert run_main(*mean) == 2
    assert "share" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()
