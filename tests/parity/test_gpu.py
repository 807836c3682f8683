"""On a GPU: the loop and the filters equal the CPU's, and neither streams nor prompts depend on their company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from whispergpt.benchmarks.gpu.parity import equal_in_company, equal_limited, equal_prompts
from whispergpt.engine.engine import Engine
from whispergpt.engine.gpu.launch import ROW_BLOCK

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device that torch can use"),
]


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    times = np.arange(36_000) / 24_000
    return (0.2 * np.sin(2 * np.pi * 180 * times) * (1 + np.sin(2 * np.pi * 3 * times))).astype(np.float32)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("speech", "cuda", max_streams=2 * ROW_BLOCK)


def test_prompt_equals_the_cpus(audio: np.ndarray) -> None:
    """In float32 on both; on its own a CPU may multiply in bfloat16."""
    gpu, cpu = (Engine.load("speech", device, dtype="float32") for device in ("cuda", "cpu"))
    ours, reference = gpu.encode_prompt(audio), cpu.encode_prompt(audio)
    same = (ours.codes.cpu() == reference.codes).float().mean()
    assert same > 0.99, "near ties may fall either way, others not"
    error = (ours.decoded.float() - reference.decoded.float()).abs()
    assert float(error.median()) < 4


def test_same_seed_in_any_company(engine: Engine, audio: np.ndarray) -> None:
    assert equal_in_company(engine, engine.encode_prompt(audio), seeds=7, company=ROW_BLOCK + 5, frames=40)


def test_limited_streams_are_those_of_the_hosts_filters(engine: Engine, audio: np.ndarray) -> None:
    assert equal_limited(engine, engine.encode_prompt(audio), frames=12)


def test_prompts_do_not_depend_on_those_beside_them(engine: Engine) -> None:
    assert equal_prompts(engine, 20)


def test_a_step_that_is_timed_says_all_stages(engine: Engine, audio: np.ndarray) -> None:
    engine.warm_up()
    stages: dict[str, float] = {}
    engine.path.step([0, 1, 2], stages)
    assert stages.keys() == {"lm", "fine", "codec", "mel"} and all(0 < each < 1 for each in stages.values())
