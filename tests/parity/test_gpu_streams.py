"""Prompts and steps on CUDA streams of their own, on a GPU that is pretended: all that must have an order has one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.pretended_gpu import GPU
from tests.support.watched_streams import Race, WatchedGpu
from whispergpt.benchmarks.gpu_check.models import SMALL, SMALL_CODEC
from whispergpt.engine import device
from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.config import SamplingDefaults
from whispergpt.engine.engine import Engine
from whispergpt.engine.gpu import step as gpu_step
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.engine.stream_plan import SamplingParams


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> WatchedGpu:
    device._stream.cache_clear()
    monkeypatch.setattr(gpu_step, "missing_because", lambda device: "PyTorch computes the steps.")
    return WatchedGpu()


def test_what_nothing_orders_is_found(gpu: WatchedGpu) -> None:
    with gpu:
        with device.for_prompts(GPU):
            made = torch.zeros(3, device=GPU)
        with device.for_steps(GPU), pytest.raises(Race):
            made + 1
        with device.for_prompts(GPU):
            made.cpu()
        with device.for_steps(GPU):
            made + 1
        with device.for_prompts(GPU), pytest.raises(Race):
            made.add_(1)


@pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN")
def test_prompts_and_steps_are_ordered_where_they_meet(gpu: WatchedGpu) -> None:
    """Streams start behind prompts that came while others played; a sampling changes; a stream goes on by a token."""
    torch.manual_seed(0)
    noise = np.random.default_rng(0).normal(0, 0.1, 15_000).astype(np.float32)
    sampling = SamplingParams(0, 1.0, 0, 1.0)
    with gpu:
        step = FrameStep(Codec(SMALL_CODEC), WhisperGPT(SMALL)).eval().requires_grad_(False).to(GPU)
        engine = Engine(LoadedModel("small", step, SamplingDefaults(), "unknown", "0"), GPU, 2)
        first = engine.stream(engine.encode_prompt(noise), sampling, None)
        assert len(engine.step().frames) == 1
        gpu.used.clear()
        beside = engine.encode_prompt(noise[::-1].copy())
        assert gpu.used.keys() == {0}, "prompts have a stream of their own"
        engine.stream(beside, sampling, None)
        gpu.used.clear()
        engine.change_sampling(first, SamplingParams(1, 0.5, 0, 1.0))
        assert len(engine.step().frames) == 2 and len(engine.step().frames) == 2
        assert gpu.used.keys() == {-1}, "and steps have one that goes first"
        engine.cancel(first)
        engine.stream(engine.resume(engine._slots.snapshot(first).snapshot).finish(), sampling, None)
        assert len(engine.step().frames) == 2
