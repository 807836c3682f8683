"""On a GPU: the loop equals the CPU's, and the same seed gives the same codes in any slot and company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from whispergpt.engine.engine import Engine
from whispergpt.engine.gpu.launch import ROW_BLOCK
from whispergpt.engine.messages import SamplingParams
from whispergpt.engine.prompts.prompt import Prompt

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device that torch can use"),
]


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    times = np.arange(36_000) / 24_000
    return (0.2 * np.sin(2 * np.pi * 180 * times) * (1 + np.sin(2 * np.pi * 3 * times))).astype(np.float32)


def codes_and_samples(engine: Engine, prompt: Prompt, seeds: list[int]) -> list[tuple[list[int], np.ndarray]]:
    streams = [engine.stream(prompt, SamplingParams(seed, 0.9, 0, 0.95), 40) for seed in seeds]
    heard: dict[int, list[tuple[int, np.ndarray]]] = {}
    while not all(stream.ended for stream in streams):
        for frame in engine.step().frames:
            heard.setdefault(frame.stream.id, []).append((frame.code, frame.pcm))
    return [([c for c, _ in heard[s.id]], np.concatenate([p for _, p in heard[s.id]])) for s in streams]


def test_prompt_and_logits_equal_the_cpus(audio: np.ndarray) -> None:
    gpu, cpu = Engine.load("speech", "cuda"), Engine.load("speech", "cpu")
    ours, reference = gpu.encode_prompt(audio), cpu.encode_prompt(audio)
    same = (ours.codes.cpu() == reference.codes).float().mean()
    assert same > 0.99, "near ties may fall either way, others not"
    error = (ours.decoded.float() - reference.decoded.float()).abs()
    assert float(error.median()) < 4


def test_same_seed_in_any_company(audio: np.ndarray) -> None:
    engine = Engine.load("speech", "cuda", max_streams=2 * ROW_BLOCK)
    prompt = engine.encode_prompt(audio)
    alone = [codes_and_samples(engine, prompt, [seed])[0] for seed in range(0, ROW_BLOCK + 12, 12)]
    together = codes_and_samples(engine, prompt, list(range(ROW_BLOCK + 12)))[::12]
    for (codes, samples), (same_codes, same_samples) in zip(alone, together, strict=True):
        assert codes == same_codes
        assert (samples == same_samples).all()
