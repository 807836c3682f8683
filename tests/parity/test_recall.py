"""A stream that is made again from its last codes goes on as it would have: the same codes, and no click."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.config import HYBRID, SMALL_CODEC, Dtype, FineConfig, SamplingDefaults, StackConfig
from whispergpt.engine.engine import SNAPSHOT_EVERY, Engine
from whispergpt.engine.model.code_history import CodeHistory
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.engine.prompts.resume import (
    ResumeError,
    frames_in_snapshot,
    frames_of_influence,
    pack_codes,
    unpack_codes,
)
from whispergpt.engine.stream_plan import DecoderState, SamplingParams, Snapshot, StreamPlan
from whispergpt.engine.streams.scheduler import Stream

WINDOW = 64
SAMPLING = SamplingParams(seed=5, temperature=0.9, top_k=0, top_p=1.0)
LIKELY_SAME = 40
"""Frames after which a difference of rounding may have drawn another code."""


DRAWN, NEAREST = FineConfig(), FineConfig(64, kind="nearest")


@pytest.fixture(
    scope="module",
    params=[(2, DRAWN), (5, DRAWN), (2, NEAREST)],
    ids=["two layers", "five layers, which reach further back", "nearest codes"],
)
def engine(request: pytest.FixtureRequest) -> Engine:
    # Random weights magnify what bfloat16 rounds away: trained ones are asked below, as they are served.
    layers, fine = request.param
    return engine_of(layers, dtype="float32", fine=fine)


def engine_of(layers: int, exact: bool = False, dtype: Dtype = "auto", fine: FineConfig = DRAWN) -> Engine:
    """A model of random weights whose streams have long outlived their window soon."""
    torch.manual_seed(0)
    codec = Codec(SMALL_CODEC)
    config = replace(HYBRID, stack=StackConfig(256, layers, 4, 1, 256, WINDOW), fine=fine)
    step = FrameStep(codec, WhisperGPT(config)).eval().requires_grad_(False)
    loaded = LoadedModel("random", step, SamplingDefaults(), "unknown", "00000000")
    return Engine(loaded, torch.device("cpu"), 4, exact, dtype)


def play(engine: Engine, stream: Stream) -> tuple[dict[int, tuple[int, np.ndarray]], dict[int, Snapshot]]:
    """Frames by their number, and what each snapshot remembers."""
    frames, snapshots = {}, {}
    while not stream.ended:
        report = engine.step()
        for frame in report.frames:
            if frame.stream is stream:
                frames[frame.index] = (frame.code, frame.pcm)
        snapshots |= {point.frame: point.snapshot for point in report.snapshots if point.stream_id == stream.id}
    return frames, snapshots


def test_a_recalled_stream_goes_on_as_it_would_have(engine: Engine) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32)
    whole = Stream(1, engine.encode_prompt(noise), StreamPlan(SAMPLING, 400, snapshots=True), credit=None)
    other = engine.stream(engine.encode_prompt(noise[:18_000]), replace_seed(9), None)
    engine.start(whole)
    frames, snapshots = play(engine, whole)
    assert sorted(snapshots) == [0, 75, 150, 225, 300, 375] and SNAPSHOT_EVERY == 75
    for start in (75, 300):  # with some of the prompt still remembered, and long after it
        encoder = engine.resume(snapshots[start])
        recalled = Stream(2, encoder.finish(), StreamPlan(SAMPLING, 400 - start, first_frame=start), credit=None)
        assert recalled.prompt.frames == min(75 + start, frames_in_snapshot(engine.model.step.model.config))
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


def test_a_listener_ahead_of_a_token_hears_the_same_stream_go_on() -> None:
    """What was sent behind a token is made again, by a trained model that hears itself."""
    engine, start, seeds = Engine.load("speech", "cpu", 8), 900, range(8)
    noise = np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32)
    prompt = engine.encode_prompt(noise)
    firsts = [Stream(n, prompt, StreamPlan(replace_seed(n), start + 75, snapshots=True), credit=None) for n in seeds]
    codes, snapshots = play_together(engine, firsts)
    again = [
        Stream(n, engine.resume(snapshots[n, start]).finish(), StreamPlan(replace_seed(n), 75, first_frame=start), None)
        for n in seeds
    ]
    codes_again, _ = play_together(engine, again)
    assert sum(codes_again[n] == codes[n][start:] for n in seeds) >= 6


def play_together(
    engine: Engine, streams: list[Stream]
) -> tuple[dict[int, list[int]], dict[tuple[int, int], Snapshot]]:
    """Each stream's coarse codes, and its snapshots by its number and theirs."""
    codes: dict[int, list[int]] = {stream.id: [] for stream in streams}
    snapshots = {}
    for stream in streams:
        engine.start(stream)
    while not all(stream.ended for stream in streams):
        report = engine.step()
        for frame in report.frames:
            codes[frame.stream.id].append(frame.code)
        snapshots |= {(point.stream_id, point.frame): point.snapshot for point in report.snapshots}
    return codes, snapshots


@pytest.mark.parametrize("dtype", get_args(Dtype))
@pytest.mark.parametrize("prompt_seconds", [1.0, 9.0])
def test_an_exact_memory_changes_no_bit(prompt_seconds: float, dtype: Dtype) -> None:
    """Behind a prompt that all still depends on, and a longer one; early, late, and from a recalled stream."""
    engine, frames_in_all, late = engine_of(2, True, dtype), 525, 450
    if not engine.info().exactly:
        pytest.skip("only compiled kernels recall exactly")
    noise = np.random.default_rng(0).normal(0, 0.1, round(prompt_seconds * 24_000)).astype(np.float32)
    whole = Stream(1, engine.encode_prompt(noise), StreamPlan(SAMPLING, frames_in_all, snapshots=True), credit=None)
    company = engine.stream(engine.encode_prompt(noise[:18_000]), replace_seed(9), None)
    engine.start(whole)
    frames, snapshots = play(engine, whole)
    engine.cancel(company)
    reach = frames_of_influence(engine.model.step.model.config)
    assert snapshots[75].decoder_state.start == (0 if prompt_seconds == 1.0 else snapshots[0].decoder_state.start)
    assert (snapshots[0].decoder_state.start > 0) == (prompt_seconds == 9.0)
    assert snapshots[late].decoder_state.start >= late - reach - 75 > 0
    second = engine_of(2, True, dtype)
    for number, start in enumerate((75, late), 2):
        snapshot = snapshots[start]
        for hop in (start, start + 75):  # and once more, from what the second one remembers
            plan = StreamPlan(SAMPLING, frames_in_all - hop, first_frame=hop, snapshots=True)
            recalled = Stream(number, second.resume(snapshot).finish(), plan, credit=None)
            second.start(recalled)
            again, points = play(second, recalled)
            assert sorted(again) == list(range(hop, frames_in_all))
            for frame, (code, pcm) in again.items():
                assert code == frames[frame][0] and np.array_equal(pcm, frames[frame][1]), frame
            snapshot = points.get(start + 75, snapshot)
            if start == late:
                break


def test_an_exact_memory_is_bounded_and_must_fit() -> None:
    engine = engine_of(2, exact=True)
    config = engine.model.step.model.config
    noise = np.random.default_rng(0).normal(0, 0.1, 59 * 24_000).astype(np.float32)
    stream = Stream(1, engine.encode_prompt(noise), StreamPlan(SAMPLING, 2, snapshots=True), credit=None)
    engine.start(stream)
    _, points = play(engine, stream)
    assert len(points[0].codes) * 8 / 80 <= frames_of_influence(config) + 2 * 75
    for bad in (
        Snapshot(points[0].codes, DecoderState(5, points[0].decoder_state.packed[:-4])),
        Snapshot(points[0].codes, DecoderState(0, b"1234")),
    ):
        with pytest.raises(ResumeError):
            engine.resume(bad)


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
    with pytest.raises(ResumeError):
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
