"""A model that goes on with another codec: how its codes begin, and the command that trains it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.corpus import ROOT, audio_set, one_line, run_main, speakers
from tests.support.random_model import random_model, saved
from whispergpt.engine.audio.audio_file import read_audio
from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.checkpoints.checkpoint import load_codec, load_model, save_codec
from whispergpt.engine.config import FineConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.fine.drawn_stage import DrawnStage
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.prepare import prepare
from whispergpt.training.lm import train_lm
from whispergpt.training.lm.other_codes import on_codec
from whispergpt.training.lm.own_decoder import with_decoder
from whispergpt.training.tokens import code_pairs as counted
from whispergpt.training.tokens.code_pairs import code_pairs
from whispergpt.training.tokens.tokens import Tokens, codec_digest

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def speech() -> Codec:
    """A trained codec, whose codes are many."""
    return load_model("speech-gpt-s", CPU).step.plain_codec


@pytest.fixture(scope="module")
def renamed(speech: Codec) -> tuple[Codec, torch.Tensor]:
    """The same codec with its coarse codes in another order, and the former code of each ``[1024]``."""
    order = torch.randperm(1_024, generator=torch.Generator().manual_seed(3))
    codec = copy.deepcopy(speech)
    codebook = codec.quantizer.codebooks[0]
    codebook.embed.copy_(codebook.embed[order])
    return codec, order


def recordings(count: int, seconds: float) -> AudioSet:
    """The example prompt, again and again."""
    prompt = (read_audio(ROOT / "examples" / "prompt.flac")[: int(24_000 * seconds)] * 32_767).astype(np.int16)
    return audio_set([prompt] * count, [0] * count)


def test_pairs_are_counted_on_the_same_frames(
    speech: Codec, renamed: tuple[Codec, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, order = renamed
    data = recordings(2, 3.0)
    pairs = code_pairs(data, codec, speech, tmp_path)
    assert pairs.sum() == 2 * 3 * 75 and (pairs > 0).sum() > 50
    assert all(int(order[new]) == old for new, old in zip(*np.nonzero(pairs), strict=True))
    monkeypatch.setattr(OfflineCodec, "encode", None)
    assert (code_pairs(data, codec, speech, tmp_path) == pairs).all(), "they are kept"


def test_a_part_of_many_recordings_is_enough(
    speech: Codec, renamed: tuple[Codec, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counted, "SECONDS", 5)
    assert code_pairs(recordings(8, 2.0), renamed[0], speech, tmp_path).sum() == 3 * 2 * 75


@pytest.mark.parametrize("kind", ["drawn", "nearest"])
def test_codes_of_another_order_change_nothing(kind: str, renamed: tuple[Codec, torch.Tensor]) -> None:
    """Each code is then one former code, so the model predicts as before, by other numbers."""
    codec, order = renamed
    plain = random_model(5, FineConfig(32, kind=kind))  # type: ignore[arg-type]
    start = with_decoder(plain, plain.step.plain_codec)
    pairs = np.zeros((1_024, 1_024), np.int64)
    pairs[np.arange(1_024), order.numpy()] = 10**9
    drawn = np.random.default_rng(0).integers(0, 1_024, (500, 8)).astype(np.uint16)
    model = on_codec(start, codec, pairs, [Tokens(drawn, {}, [(0, 500)])])
    codes, slices = torch.from_numpy(drawn[None, :60, 0].astype(np.int64)), torch.randn(1, 60, 80)
    expected = start.step.model(order[codes], slices)[..., order]
    torch.testing.assert_close(model.step.model(codes, slices), expected, rtol=1e-3, atol=1e-4)
    assert model.step.plain_codec is codec and model.step.codec is codec, "its own decoder was for the former codes"
    assert model.digest != start.digest
    if kind == "drawn":
        assert isinstance(model.step.model.fine, DrawnStage)
        bias = model.step.model.fine.levels[0].bias
        frequency = np.bincount(drawn[:, 1], minlength=1_024) + 1.0
        np.testing.assert_allclose(bias.exp(), frequency / frequency.sum(), rtol=1e-4)


def test_a_code_that_no_frame_has_begins_as_the_mean_of_all(renamed: tuple[Codec, torch.Tensor]) -> None:
    start = random_model(5, None)
    pairs = np.zeros((1_024, 1_024), np.int64)
    pairs[0, 7] = pairs[1, 9] = 10**9
    model = on_codec(start, renamed[0], pairs, [])
    old, new = start.step.model.code_embedding.weight, model.step.model.code_embedding.weight
    torch.testing.assert_close(new[0], old[7], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(new[2], (old[7] + old[9]) / 2, rtol=1e-4, atol=1e-5)


def test_one_command_goes_on_with_another_codec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, renamed: tuple[Codec, object]
) -> None:
    monkeypatch.setattr(train_lm, "CHECK_BATCHES", 1)
    prepare([speakers(tmp_path / "audio", count=2, files=1, seconds=31)], tmp_path / "data", heldout=1)
    saved(random_model(5, FineConfig(32, kind="nearest")), tmp_path / "model")
    save_codec(renamed[0], tmp_path / "codec")
    run = ("train", "lm", tmp_path / "data", "--start-from", tmp_path / "model", "--batch", 1, "-o", tmp_path / "run")
    assert run_main(*run, "--codec", tmp_path / "codec", "--steps", 1) == 0
    made = load_model(str(tmp_path / "run"), CPU)
    assert codec_digest(load_codec(tmp_path / "run")) == codec_digest(renamed[0])
    assert made.step.model.decoder is None and made.step.model.config.fine == FineConfig(32, kind="nearest")
    assert run_main(*run[:-1], tmp_path / "again", "--codec", tmp_path / "codec", "--steps", 1) == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "again")]
    assert weights[0] == weights[1], "the seed decides the new fine stage too"
    assert run_main(*run, "--codec", tmp_path / "codec", "--steps", 2) == 0, "it resumes"
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "heldout_decoded" in line] == [0, 1, 2]
    capsys.readouterr()
    assert run_main(*run[:-1], tmp_path / "none", "--codec", tmp_path / "model") == 2
    assert "has the codes of this codec already: leave out --codec" in one_line(capsys)
