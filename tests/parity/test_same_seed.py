"""The same seed gives the same codes and samples, alone and in any company: random schedules on the default model."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from tests.support.kernels import kernels_expected
from whispergpt.engine.config import Dtype
from whispergpt.engine.engine import TILE, Engine
from whispergpt.engine.native.library import NativeError
from whispergpt.engine.prompts.prompt import Prompt, Stage
from whispergpt.engine.stream_plan import SamplingParams
from whispergpt.engine.streams.scheduler import Stream

SEEDS = 10
FRAMES = 24


def sampling(seed: int) -> SamplingParams:
    """Another temperature and cut for each seed, greedy among them."""
    return SamplingParams(seed, temperature=0.3 * (seed % 4), top_k=(0, 50, 0)[seed % 3], top_p=(0.9, 1.0)[seed % 2])


@pytest.fixture(scope="module", params=["as picked", "int8", "torch"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The default model as this machine runs it, in int8, and by torch as on a machine without kernels."""
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "torch":
            patched.setattr("whispergpt.engine.native.check.load_library", no_kernels)
        if request.param == "int8" and not kernels_expected():
            pytest.skip("int8 needs kernels")
        dtype: Dtype = "int8" if request.param == "int8" else "auto"
        loaded = Engine.load("speech", "cpu", max_streams=2 * TILE, dtype=dtype)
        native = request.param != "torch" and kernels_expected()
        assert loaded.path.name.startswith("native" if native else "torch")
        yield loaded


def no_kernels(*_: object) -> None:
    raise NativeError("for this test")


@pytest.fixture(scope="module")
def prompts(engine: Engine) -> list[Prompt]:
    draw = np.random.default_rng(0)
    times = np.arange(24_000) / 24_000
    tones = [0.2 * np.sin(2 * np.pi * f * times) * (1 + np.sin(2 * np.pi * 3 * times)) for f in (110, 220, 440)]
    return [
        engine.encode_prompt((tone[:n] + draw.normal(0, 0.01, n)).astype(np.float32))
        for tone, n in zip(tones, (12_000, 24_000, 17_777), strict=True)
    ]


def alone(engine: Engine, prompt: Prompt, seed: int) -> list[tuple[int, bytes]]:
    return [(f.code, f.pcm.tobytes()) for f in engine.generate(engine.stream(prompt, sampling(seed), FRAMES))]


@pytest.fixture(scope="module")
def expected(engine: Engine, prompts: list[Prompt]) -> list[list[tuple[int, bytes]]]:
    return [alone(engine, prompts[seed % 3], seed) for seed in range(SEEDS)]


def test_streams_differ(expected: list[list[tuple[int, bytes]]]) -> None:
    assert len({tuple(code for code, _ in stream) for stream in expected}) > SEEDS // 2


@pytest.mark.parametrize("schedule", range(4))
def test_any_schedule(
    engine: Engine, prompts: list[Prompt], expected: list[list[tuple[int, bytes]]], schedule: int
) -> None:
    """Streams join at random times, are held back at random, and are crowded by others that are cancelled."""
    draw = random.Random(schedule)
    heard: dict[int, list[tuple[int, bytes]]] = {}
    ours: dict[int, Stream] = {}
    waiting = list(range(SEEDS))
    draw.shuffle(waiting)
    others: list[Stream] = []
    while waiting or not all(s.ended for s in ours.values()):
        if waiting and draw.random() < 0.4:
            seed = waiting.pop()
            ours[seed] = engine.stream(prompts[seed % 3], sampling(seed), FRAMES)
        if draw.random() < 0.2:
            others.append(engine.stream(draw.choice(prompts), sampling(draw.randrange(1000)), None))
        if others and draw.random() < 0.25:
            engine.cancel(others.pop(draw.randrange(len(others))))
        for stream in ours.values():
            # No credit for this step: the stream keeps its slot and is not stepped.
            stream.credit = 0 if draw.random() < 0.3 else None
        for frame in engine.step().frames:
            heard.setdefault(frame.stream.id, []).append((frame.code, frame.pcm.tobytes()))
    for stream in others:
        engine.cancel(stream)
    assert engine.scheduler.active == 0
    for seed, stream in ours.items():
        assert heard[stream.id] == expected[seed], f"seed {seed} differs in slot {stream.slot}"


def test_prompt_is_the_same_however_it_arrives(engine: Engine, prompts: list[Prompt]) -> None:
    draw = np.random.default_rng(1)
    audio: npt.NDArray[np.float32] = draw.normal(0, 0.1, 31_111).astype(np.float32)
    whole = engine.encode_prompt(audio)
    encoder = engine.open_prompt()
    start = 0
    while start < len(audio):
        count = int(draw.integers(1, 5000))
        encoder.push(audio[start : start + count])
        for stage in Stage:
            while encoder.can(stage) and draw.random() < 0.8:
                encoder.work(stage, int(draw.integers(1, 40)))
        start += count
    pieces = encoder.finish()
    assert (pieces.codes == whole.codes).all()
    assert (pieces.decoded == whole.decoded).all()
    assert alone_codes(engine, pieces) == alone_codes(engine, whole)


def alone_codes(engine: Engine, prompt: Prompt) -> list[int]:
    return [code for code, _ in alone(engine, prompt, 1)]
