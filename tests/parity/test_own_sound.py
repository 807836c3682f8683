"""What a model is trained on as its own sound is what its listeners hear, where they hear the same coarse codes."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.random_model import random_model
from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.config import HYBRID, FineConfig
from whispergpt.engine.engine import Engine
from whispergpt.engine.model.mel import CausalMel
from whispergpt.engine.stream_plan import SamplingParams, StreamPlan
from whispergpt.engine.streams.scheduler import Stream
from whispergpt.training.lm.own_sound import OWN, STRETCH_FRAMES, with_own_sound
from whispergpt.training.tokens.own_voice import PROMPT_FRAMES, OwnVoice
from whispergpt.training.tokens.tokens import Tokens

FRAMES = 60
TEMPERATURE = 0.3


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return random_model(3, FineConfig(temperature=TEMPERATURE))


def test_own_sound_is_what_a_listener_hears(model: LoadedModel) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, PROMPT_FRAMES * 320).astype(np.float32)
    codec = OfflineCodec(copy.deepcopy(model.step.codec))
    prompt = codec.encode(torch.from_numpy(noise))
    engine = Engine(copy.deepcopy(model), torch.device("cpu"), 4, dtype="float32")
    # The seed of the second of a voice's streams is 1.
    stream = Stream(1, engine.encode_prompt(noise), StreamPlan(SamplingParams(1, 1.0, 0, 1.0), FRAMES), credit=None)
    engine.start(stream)
    frames = []
    while not stream.ended:
        frames += engine.step().frames
    coarse = np.zeros((FRAMES, 8), np.uint16)  # the finer ones are not to be looked at
    coarse[:, 0] = [frame.code for frame in frames]
    played = np.concatenate([frame.pcm for frame in frames]).astype(np.float32) / 32767
    heard = torch.cat([codec.decode(prompt), torch.from_numpy(played)])
    wanted = CausalMel(HYBRID.mel)(heard[None])[0]

    said = np.concatenate([prompt.t().numpy().astype(np.uint16), coarse])
    other, own = OwnVoice(model, TEMPERATURE).slices([said[:100], said])
    assert other.shape == (100, 80) and own.shape == (PROMPT_FRAMES + FRAMES, 80)
    far = (own - wanted).abs().amax(1)
    assert float(far[:PROMPT_FRAMES].max()) < 1e-3
    assert float((far < 1e-3).float().mean()) > 0.9, "roundings may draw another code now and then, not more"
    assert not torch.allclose(other, own[:100], atol=0.05), "another seed draws others"


def test_what_is_spoken_has_the_codes_that_sound_so(model: LoadedModel) -> None:
    draw = np.random.default_rng(2)
    given = [
        draw.integers(0, 1024, (frames, 8)).astype(np.uint16) for frames in (PROMPT_FRAMES + 40, PROMPT_FRAMES - 5)
    ]
    longer, prompt = OwnVoice(model, TEMPERATURE).speak(given)
    assert (prompt.codes == given[1]).all() and (longer.codes[:PROMPT_FRAMES] == given[0][:PROMPT_FRAMES]).all()
    after = longer.codes[PROMPT_FRAMES:]
    assert (after[:, 0] == given[0][PROMPT_FRAMES:, 0]).all()
    assert (after[:, 1:] == given[0][PROMPT_FRAMES:, 1:]).mean() < 0.1, "the finer ones are its own"
    decoded = OfflineCodec(model.step.codec).decode(torch.from_numpy(longer.codes.astype(np.int64).T))
    np.testing.assert_allclose(longer.sound, decoded.numpy().clip(-1, 1), atol=2e-3)


def test_every_frame_has_its_slice(model: LoadedModel, tmp_path: Path) -> None:
    counts = [PROMPT_FRAMES - 5, STRETCH_FRAMES + 40, 3]
    draw = np.random.default_rng(1)
    codes = draw.integers(0, 1024, (sum(counts), 8)).astype(np.uint16)
    starts = np.cumsum([0, *counts[:-1]]).tolist()
    tokens = Tokens(codes, {}, list(zip(starts, counts, strict=True)))
    first = with_own_sound(tokens, model, TEMPERATURE, tmp_path)
    again = with_own_sound(tokens, model, TEMPERATURE, tmp_path)
    slices = np.asarray(first.mels[OWN], np.float32)
    assert slices.shape == (sum(counts), 80) and (slices == again.mels[OWN]).all()
    assert (np.ptp(slices, axis=1) > 0).all(), "no frame is left out"
    codec = OfflineCodec(model.step.codec)
    alone = codec.decode(torch.from_numpy(codes[: counts[0]].astype(np.int64).T))
    decoded = CausalMel(HYBRID.mel)(alone[None])[0].numpy()
    np.testing.assert_allclose(slices[: counts[0]], decoded, atol=2e-3)
    assert with_own_sound(tokens, model, 0.9, tmp_path).mels[OWN].tolist() != slices.tolist()
    assert len(list(tmp_path.glob("*.npy"))) == 2
