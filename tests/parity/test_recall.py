"""A stream that is made again from its last codes goes on as it would have: the same codes, and no click."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.checkpoint import LoadedModel
from engine.code_history import CodeHistory
from engine.codec import Codec
from engine.config import HYBRID, SMALL_CODEC, FineConfig, SamplingDefaults, StackConfig
from engine.engine import CHECKPOINT_EVERY, Engine
from engine.frame_step import FrameStep
from engine.messages import SamplingParams
from engine.model import WhisperGPT
from engine.recall import RecallError, frames_remembered, pack_codes, unpack_codes
from engine.scheduler import Stream

WINDOW = 64
SAMPLING = SamplingParams(seed=5, temperature=0.9, top_k=0, top_p=1.0)
LIKELY_SAME = 40
"""Frames after which a difference of rounding may have drawn another code."""


@pytest.fixture(scope="module", params=[2, 5], ids=["two layers", "five layers, which reach further back"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """A model of random weights whose streams have long outlived their window soon."""
    torch.manual_seed(0)
    codec = Codec(SMALL_CODEC)
    config = replace(HYBRID, stack=StackConfig(256, request.param, 4, 1, 256, WINDOW), fine=FineConfig())
    step = FrameStep(codec, WhisperGPT(config)).eval().requires_grad_(False)
    return Engine(LoadedModel("random", step, SamplingDefaults(), "unknown", "00000000"), torch.device("cpu"), 4)


def play(engine: Engine, stream: Stream) -> tuple[dict[int, tuple[int, np.ndarray]], dict[int, bytes]]:
    """Frames by their number, and what each checkpoint remembers."""
    frames, checkpoints = {}, {}
    while not stream.ended:
        report = engine.step()
        for frame in report.frames:
            if frame.stream is stream:
                frames[frame.index] = (frame.code, frame.pcm)
        checkpoints |= {point.frame: point.codes for point in report.checkpoints if point.stream_id == stream.id}
    return frames, checkpoints


def test_a_recalled_stream_goes_on_as_it_would_have(engine: Engine) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32)
    whole = Stream(1, engine.encode_prompt(noise), SAMPLING, 400, credit=None, checkpoints=True)
    other = engine.stream(engine.encode_prompt(noise[:18_000]), replace_seed(9), None)
    engine.start(whole)
    frames, checkpoints = play(engine, whole)
    assert sorted(checkpoints) == [0, 75, 150, 225, 300, 375] and CHECKPOINT_EVERY == 75
    for start in (75, 300):  # with some of the prompt still remembered, and long after it
        encoder = engine.recall(checkpoints[start])
        recalled = Stream(2, encoder.finish(), SAMPLING, 400 - start, credit=None, first_frame=start)
        assert recalled.prompt.frames == min(75 + start, frames_remembered(engine.model.step.model.config))
        engine.start(recalled)
        again, _ = play(engine, recalled)
        assert sorted(again) == list(range(start, 400))
        same = [frames[number][0] == again[number][0] for number in range(start, start + LIKELY_SAME)]
        assert np.mean(same) > 0.9
        alike = same.index(False) if False in same else LIKELY_SAME
        heard = np.concatenate([again[start + number][1] for number in range(alike)]).astype(float)
        wanted = np.concatenate([frames[start + number][1] for number in range(alike)]).astype(float)
        noise_db = 10 * np.log10(np.mean(wanted**2) / max(np.mean((heard - wanted) ** 2), 1e-3))
        assert alike >= 5 and noise_db > 35
    engine.cancel(other)


def replace_seed(seed: int) -> SamplingParams:
    return SamplingParams(seed, SAMPLING.temperature, SAMPLING.top_k, SAMPLING.top_p)


def test_codes_are_packed_and_found_again() -> None:
    draw = np.random.default_rng(0)
    for frames in (8, 9, 75, 587):
        for books in (1, 2, 8):
            codes = draw.integers(0, 1024, (frames, books)).astype(np.uint16)
            packed = pack_codes(codes)
            assert len(packed) == np.ceil(frames * books * 10 / 8)
            assert (unpack_codes(packed, books, 587).numpy() == codes.T).all()


@pytest.mark.parametrize("size", [0, 70, 81, 5871, 100_000])
def test_what_are_no_codes_is_refused(size: int) -> None:
    with pytest.raises(RecallError):
        unpack_codes(bytes(size), 8, 587)


def test_the_history_is_the_last_codes() -> None:
    draw, history = np.random.default_rng(1), CodeHistory(slots=3, frames=20, books=2)
    prompts = [torch.from_numpy(draw.integers(0, 1024, (2, frames))) for frames in (5, 20, 33)]
    made = []
    for slot, prompt in enumerate(prompts):
        history.begin(slot, prompt)
        made.append(prompt.numpy().T.tolist())
    for _ in range(47):
        slots = [slot for slot in range(3) if draw.random() < 0.7]
        codes = draw.integers(0, 1024, (len(slots), 2)).astype(np.int32)
        history.append(slots, codes)
        for slot, row in zip(slots, codes.tolist(), strict=True):
            made[slot].append(row)
        for slot in range(3):
            assert history.last(slot).tolist() == made[slot][-20:]
