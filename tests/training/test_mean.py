"""The mean of two models: a model of the same sizes, which lies between both by the share that was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.corpus import one_line, run_main
from tests.support.random_model import random_model, saved
from whispergpt.engine.checkpoints.checkpoint import LoadedModel, load_model
from whispergpt.engine.config import FineConfig
from whispergpt.engine.model.frame_step import FrameStep

NEAREST = FineConfig(kind="nearest")


def on_codec_of(first: LoadedModel, other: LoadedModel) -> LoadedModel:
    """Return the second model on the codec of the first."""
    return replace(other, step=FrameStep(first.step.codec, other.step.model).eval())


def test_a_mean_lies_between_two_models(tmp_path: Path) -> None:
    first = random_model(3, NEAREST)
    other = on_codec_of(first, random_model(4, NEAREST))
    saved(first, tmp_path / "first")
    saved(other, tmp_path / "other")

    def mean(*more: object) -> dict[str, torch.Tensor]:
        arguments = (tmp_path / "first", tmp_path / "other", "-o", tmp_path / "mean", *more)
        assert run_main("train", "mean", *arguments) == 0
        return load_model(str(tmp_path / "mean"), torch.device("cpu")).step.model.state_dict()

    ours, theirs = first.step.model.state_dict(), other.step.model.state_dict()
    for share, made in ((0.5, mean()), (0.25, mean("--share", 0.25)), (1, mean("--share", 1))):
        for name, weight in made.items():
            expected = (1 - share) * ours[name] + share * theirs[name]
            torch.testing.assert_close(weight, expected, rtol=2e-3, atol=2e-4)  # they are kept in half precision
    lent = (tmp_path / "mean/codec.safetensors").read_bytes()
    assert lent == (tmp_path / "first/codec.safetensors").read_bytes()


@pytest.mark.parametrize("case", ["sizes", "codes"])
def test_models_without_a_mean_are_told(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = random_model(3, NEAREST)
    other = on_codec_of(first, random_model(4, FineConfig())) if case == "sizes" else random_model(4, NEAREST)
    saved(first, tmp_path / "first")
    saved(other, tmp_path / "other")
    assert run_main("train", "mean", tmp_path / "first", tmp_path / "other", "-o", tmp_path / "mean") == 2
    said = one_line(capsys)
    assert "first and other have" in said and "have no mean" in said and case in said
    assert not (tmp_path / "mean").exists()
