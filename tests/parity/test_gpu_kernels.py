"""The frame step by Triton kernels, in Triton's interpreter: torch's codes, samples and state, in any batch."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from tests.parity.test_native_step import MODELS, SLOTS, assert_same, busy_state, frame_step
from whispergpt.engine.gpu.frame_program import FrameProgram
from whispergpt.engine.gpu.language import INTERPRETED
from whispergpt.engine.gpu.launch import whole_blocks
from whispergpt.engine.model.streaming import clone

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="Triton's interpreter is off or Triton is missing")


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_frames_equal_torchs(name: str) -> None:
    step = frame_step(*MODELS[name])
    expected = busy_state(step)
    state = clone(expected)
    program = FrameProgram(step, state, SLOTS, torch.float32)
    order = [3, 0, 4, 1, 2]
    program.slots[:SLOTS] = torch.tensor(order)
    for _ in range(3):
        codes, samples = step(expected, torch.ones(SLOTS, dtype=torch.bool))
        program.run(whole_blocks(SLOTS))
        assert torch.equal(program.codes[:SLOTS].long(), codes[order])
        assert (program.samples[:SLOTS].int() - samples[order].int()).abs().max() <= 1
        assert_same(state, expected)
