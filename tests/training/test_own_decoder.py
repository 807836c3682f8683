"""A model with a decoder of its own: it speaks through that one, and the codec's files and codes stay as they are."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.corpus import one_line, run_main, speakers
from tests.support.random_model import random_model, saved
from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.checkpoints.checkpoint import LoadedModel, ModelError, load_codec, load_model, save_codec
from whispergpt.engine.config import SMALL_CODEC, FineConfig
from whispergpt.engine.engine import Engine
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.stream_plan import SamplingParams, StreamPlan
from whispergpt.engine.streams.scheduler import Stream
from whispergpt.training.data.prepare import prepare
from whispergpt.training.lm import train_lm
from whispergpt.training.lm.hearing import Hearings
from whispergpt.training.lm.own_decoder import with_decoder
from whispergpt.training.tokens.own_voice import PROMPT_FRAMES, OwnVoice
from whispergpt.training.tokens.tokens import Tokens

CPU = torch.device("cpu")


@pytest.fixture
def plain() -> LoadedModel:
    return random_model(3, FineConfig())


@pytest.fixture
def another(plain: LoadedModel) -> Codec:
    """A codec with the model's codes and a decoder of other weights."""
    torch.manual_seed(5)
    return plain.step.codec.through(Codec(SMALL_CODEC).decoder)


def test_a_model_speaks_through_its_own_decoder(plain: LoadedModel, another: Codec, tmp_path: Path) -> None:
    written = saved(with_decoder(plain, another), tmp_path / "own")
    loaded, before = load_model(str(written), CPU), load_model(str(saved(plain, tmp_path / "plain")), CPU)
    assert (tmp_path / "own/codec.safetensors").read_bytes() == (tmp_path / "plain/codec.safetensors").read_bytes()
    assert loaded.step.model.parameter_count() == before.step.model.parameter_count()
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 1024, (PROMPT_FRAMES + 20, 8)).astype(np.uint16)
    for model, others in ((loaded, before), (before, loaded)):
        (spoken,) = OwnVoice(model, 0.5).speak([codes])
        drawn = torch.from_numpy(spoken.codes.astype(np.int64).T)
        own, other = (OfflineCodec(one.step.codec).decode(drawn).numpy() for one in (model, others))
        assert np.abs(own - spoken.sound).max() < 2e-4, "prompt and continuation"
        assert np.abs(other - own).max() > 0.01, "the two decoders sound different"
    codec = load_codec(written)
    assert torch.equal(OfflineCodec(codec).decode(drawn), OfflineCodec(before.step.codec).decode(drawn))
    again = load_model(str(saved(loaded, tmp_path / "again")), CPU)
    assert again.digest == loaded.digest != before.digest


def test_a_decoder_is_of_the_models_codec(plain: LoadedModel, another: Codec, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the same codes"):
        with_decoder(plain, random_model(4, None).step.codec)
    folder = saved(with_decoder(plain, another), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["decoder"]["n_filters"] *= 2
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="its decoder has other sizes than its codec's"):
        load_model(str(folder), CPU)


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch) -> list[Tokens]:
    """Tokens to check with that each training is given."""
    monkeypatch.setattr(train_lm, "CHECK_BATCHES", 1)
    given: list[Tokens] = []

    def recorded(train: list[Tokens], held: list[Tokens], *others: Any) -> None:
        given.extend(held)
        train_lm.train_lm(train, held, *others)

    monkeypatch.setattr("whispergpt.cli.train.models.train_lm", recorded)
    return given


def test_own_sound_is_learnt_through_the_new_decoder(
    plain: LoadedModel, another: Codec, learnt: list[Tokens], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare([speakers(tmp_path / "audio", count=2, files=1, seconds=31)], tmp_path / "data", heldout=1)
    saved(plain, tmp_path / "model")
    save_codec(another, tmp_path / "codec")
    save_codec(random_model(4, None).step.codec, tmp_path / "foreign")

    def give(decoder: str, out: str, *more: object) -> int:
        return run_main(
            *("train", "decoder", tmp_path / decoder, "--model", tmp_path / "model", "-o", tmp_path / out), *more
        )

    assert give("foreign", "given") == 2
    assert "not the same codes" in one_line(capsys)
    assert give("codec", "given", "--fine-temperature", 0.25) == 0
    given = load_model(str(tmp_path / "given"), CPU).step.model.config.fine
    assert given is not None and given.temperature == 0.25
    own = ("train", "own", tmp_path / "data", "--model", tmp_path / "given", "-o", tmp_path / "run")
    assert run_main(*own, "--steps", 1, "--batch", 1) == 0, "it goes on with the decoder that it has"
    assert give("run", "lent") == 0, "another model's own decoder"
    before = load_model(str(tmp_path / "model"), CPU).step
    expected = load_codec(tmp_path / "codec").decoder.state_dict()
    for name in ("given", "run", "lent"):
        made = load_model(str(tmp_path / name), CPU).step
        decoder = made.codec.decoder.state_dict()
        assert all(torch.equal(weight, expected[key]) for key, weight in decoder.items())
        assert (tmp_path / name / "codec.safetensors").read_bytes() == (
            tmp_path / "model/codec.safetensors"
        ).read_bytes()
    spoken, plainly = OfflineCodec(made.codec), OfflineCodec(before.codec)
    (tokens,) = learnt
    codes = torch.from_numpy(tokens.codes[:200].astype(np.int64).T)
    own_slices, others = (before.mel(codec.decode(codes)[None])[0].numpy() for codec in (spoken, plainly))
    assert np.abs(tokens.mels["decoded"][:200] - own_slices).max() < 0.01
    assert np.abs(tokens.mels["own"][:PROMPT_FRAMES] - own_slices[:PROMPT_FRAMES]).max() < 0.01
    assert np.abs(others - own_slices).max() > 0.1


def test_a_prompt_is_heard_through_the_models_own_decoder(plain: LoadedModel, another: Codec) -> None:
    """By the server's engine, whose kernels take prompts in."""
    model = with_decoder(plain, another)
    noise = np.random.default_rng(0).normal(0, 0.1, 150 * 320).astype(np.float32)
    found = []
    for one in (model, plain):
        engine = Engine(copy.deepcopy(one), CPU, 2, dtype="float32")
        stream = Stream(0, engine.encode_prompt(noise), StreamPlan(SamplingParams(1, 1.0, 0, 1.0), 2), credit=None)
        engine.start(stream)
        found.append(np.concatenate([frame.pcm for frame in engine.step().frames]))
        codec = OfflineCodec(copy.deepcopy(one.step.codec))
        state = one.step.init_state(1, CPU)
        codes = codec.encode(torch.from_numpy(noise))
        with torch.inference_mode():
            sound = one.step.hear(codes[None], state, 0)
        assert float((sound[0] - codec.decode(codes)).abs().max()) < 2e-3
    assert np.abs(found[0].astype(int) - found[1]).max() > 100, "the first frame is of another decoder"


def test_models_of_one_codec_are_compared_whatever_they_speak_through(plain: LoadedModel, another: Codec) -> None:
    hearings = Hearings([plain, with_decoder(plain, another), random_model(4, FineConfig())], "decoded")
    assert hearings.codes[0] == hearings.codes[1] != hearings.codes[2]
    noise = np.random.default_rng(0).normal(0, 0.1, 90 * 320).astype(np.float32)
    (codes, slices), (others, own), _ = hearings.of(noise)
    assert torch.equal(codes, others) and not torch.allclose(slices, own, atol=0.05)


def test_a_model_goes_on_with_other_slices(
    plain: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the layer that takes slices in begins anew; recordings are not encoded again for them."""
    monkeypatch.setattr(train_lm, "CHECK_BATCHES", 1)
    prepare([speakers(tmp_path / "audio", count=2, files=1, seconds=31)], tmp_path / "data", heldout=1)
    model = saved(plain, tmp_path / "model")
    encoded: list[int] = []
    encode = OfflineCodec.encode

    def counted(self: OfflineCodec, audio: torch.Tensor) -> torch.Tensor:
        encoded.append(len(audio))
        return encode(self, audio)

    monkeypatch.setattr(OfflineCodec, "encode", counted)

    def lm(name: str, *more: object) -> int:
        return run_main(
            *("train", "lm", tmp_path / "data", "-o", tmp_path / name, "--start-from", model, "--originals"),
            *("--steps", 1, "--batch", 1, *more),
        )

    assert lm("same") == 0
    took = len(encoded)
    assert took > 0
    assert lm("longer", "--mel-window", 4096, "--mel-bands", 96, "--mel-high", 6000) == 0
    assert len(encoded) == took, "codes do not depend on slices"
    same, longer = (load_model(str(tmp_path / name), CPU) for name in ("same", "longer"))
    assert longer.step.model.config.mel == replace(same.step.model.config.mel, n_mels=96, window=4096, high_hz=6000.0)
    first = plain.step.model.state_dict()
    for name, weight in longer.step.model.state_dict().items():
        if name.startswith("slice_projection.weight"):
            assert weight.shape == (128, 96)
        elif name != "slice_projection.bias":
            assert float((weight - first[name]).abs().max()) < 0.01, "a step from where it was"
    assert longer.licence == plain.licence
    for wrong, why in (
        (("--codec", model), "has the codes of this codec already: leave out --codec"),
        (("--preset", "gpt-s"), "leave out --preset"),
        (("--mel-window", 1000), "must be 1024, 2048 or 4096"),
        (("--mel-high", 13000), "must be from 1000 to 12000 Hz"),
        (("--mel-bands", 192, "--mel-high", 6000), "more than a window of 1024 samples can tell apart"),
    ):
        capsys.readouterr()
        assert lm("wrong", *wrong) == 2
        assert why in one_line(capsys)
