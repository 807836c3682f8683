"""The frame step by Triton kernels, in Triton's interpreter: torch's codes, samples and state, in any batch."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from tests.parity.test_native_step import MODELS, SLOTS, assert_same, busy_state, frame_step
from whispergpt.benchmarks.gpu_check.interpretation import compare
from whispergpt.benchmarks.gpu_check.models import small_step
from whispergpt.engine.backends.step_path import StepPath
from whispergpt.engine.config import HOP
from whispergpt.engine.gpu import step as gpu_step
from whispergpt.engine.gpu.frame_program import FrameProgram
from whispergpt.engine.gpu.language import INTERPRETED
from whispergpt.engine.gpu.launch import whole_blocks
from whispergpt.engine.model.frame_step import LOST
from whispergpt.engine.model.streaming import branch, clone, leaf, rows

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="Triton's interpreter is off or Triton is missing")


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_frames_equal_torchs(name: str) -> None:
    """Two frames of slots at other positions, in any order."""
    step = frame_step(*MODELS[name])
    expected = busy_state(step)
    state = clone(expected)
    program = FrameProgram(step, state, SLOTS, torch.float32)
    order = [3, 0, 4, 1, 2]
    program.slots[:SLOTS] = torch.tensor(order)
    for _ in range(2):
        codes, samples = step(expected, torch.ones(SLOTS, dtype=torch.bool))
        program.run(whole_blocks(SLOTS))
        assert torch.equal(program.codes[:SLOTS].long(), codes[order])
        assert (program.samples[:SLOTS].int() - samples[order].int()).abs().max() <= 1
        assert_same(state, expected)


def test_a_stream_has_the_same_bits_in_any_company() -> None:
    """Batches of 1, 3, 17 and 64; and three frames beside torch."""
    comparison = compare(small_step(), 3)
    assert comparison.equal_in_company and comparison.passed


@torch.inference_mode()
def test_the_path_steps_the_slots_it_is_given() -> None:
    """Codes of lost streams, steps that are timed, and slots that stay as they are."""
    step = small_step()
    state = step.init_state(64, torch.device("cpu"))
    sampler = branch(state, "sampler")
    leaf(sampler, "temperature").fill_(0.9)
    leaf(sampler, "top_p").fill_(1.0)
    leaf(sampler, "seed").copy_(torch.arange(64))
    path: StepPath = gpu_step.GpuPath(step, state, 64, torch.device("cpu"))
    assert path.name.startswith("triton-") and path.dtype == torch.float32 and path.slow_because is None
    leaf(branch(branch(state, "decoder"), "0"), "context")[7] = float("nan")
    expected = clone(state)
    codes, samples = path.step([7, 3], stages={})
    assert codes.shape == (2, step.books) and samples.shape == (2, HOP)
    assert (codes[0] == LOST).all() and (codes[1] >= 0).all()
    alone, _ = step(rows(expected, 3, 4), torch.ones(1, dtype=torch.bool))
    assert (codes[1] == alone[0].numpy()).all()
    assert leaf(sampler, "frame").tolist() == [int(slot in (3, 7)) for slot in range(64)]


def test_batches_rise_to_the_number_of_slots() -> None:
    assert gpu_step.batches(64) == [64]
    assert gpu_step.batches(320) == [64, 256, 320]
    assert gpu_step.batches(8192) == [64, 256, 1024, 2048, 4096, 8192]
