"""The frame step by Triton kernels, in Triton's interpreter: torch's codes, samples and state.

`make gpu-check`, which is part of CI, runs a model with all kinds of layers so, and compares batches.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.parity.test_native_step import SLOTS, assert_same, busy_state, frame_step
from whispergpt.benchmarks.gpu_check.models import SMALL, SMALL_CODEC, in_format, small_step
from whispergpt.engine.backends.step_path import StepPath, kept_dtype
from whispergpt.engine.config import HOP, FineConfig
from whispergpt.engine.gpu import step as gpu_step
from whispergpt.engine.gpu.frame_program import FrameProgram
from whispergpt.engine.gpu.language import INTERPRETED
from whispergpt.engine.gpu.launch import whole_blocks
from whispergpt.engine.model.frame_step import LOST
from whispergpt.engine.model.streaming import branch, clone, leaf, rows
from whispergpt.engine.native.check import Kernels

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="Triton's interpreter is off or Triton is missing")


KINDS = {
    "hybrid without a fine stage or LSTM": (replace(SMALL, fine=None), replace(SMALL_CODEC, lstm_layers=0)),
    "nearest codes": (replace(SMALL, fine=FineConfig(48, 3, 20, kind="nearest")), SMALL_CODEC),
    "token-only": (replace(SMALL, code_width=64, spectrogram=None, fine=None), SMALL_CODEC),
}
"""Kinds of model that `make gpu-check` does not compute: its own has all layers."""


@pytest.mark.parametrize("name", KINDS)
@torch.inference_mode()
def test_frames_equal_torchs(name: str) -> None:
    """Two frames of slots at other positions, in any order."""
    step = frame_step(*KINDS[name])
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


@torch.inference_mode()
def test_prompts_of_torch_fill_rings_in_bfloat16() -> None:
    """Rings are laid out on a GPU as in float32; chunks are read in any format and written rounded."""
    step = small_step()
    codes = torch.arange(12)[None]
    logits = []
    for dtype in (torch.float32, torch.bfloat16):
        state = in_format(step.init_state(1, torch.device("cpu")), dtype)
        own = branch(state, "model")
        mel = torch.zeros(1, 6, step.model.config.mel.n_mels)
        for start in (0, 6):
            logits.append(step.model.extend(codes[:, start : start + 6], mel, own, start)[0, -1])
        assert leaf(branch(branch(own, "stack"), "0"), "keys").dtype == dtype
    assert torch.equal(logits[0], logits[2]), "the first chunk sees nothing that was rounded"
    apart = (logits[1] - logits[3]).abs().max() / logits[1].abs().max()
    assert 0 < float(apart) < 0.05


def test_batches_rise_to_the_number_of_slots() -> None:
    assert gpu_step.batches(64) == [64]
    assert gpu_step.batches(320) == [64, 256, 320]
    assert gpu_step.batches(8192) == [64, 256, 1024, 2048, 4096, 8192]


def test_what_is_missing_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda")
    capability = (9, 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setenv("CC", "cc")
    assert gpu_step.missing_because(device) is None
    assert kept_dtype(device, Kernels(None), "auto") == torch.bfloat16
    assert kept_dtype(device, Kernels(None), "float32") == torch.float32
    capability = (7, 5)
    said = gpu_step.missing_because(device)
    assert said == "The GPU has compute capability 7.5 and the kernels need 8.0, so PyTorch computes the steps."
    assert kept_dtype(device, Kernels(None), "auto") == torch.float32
    monkeypatch.delenv("CC")
    monkeypatch.setattr(gpu_step.shutil, "which", lambda command: None)
    assert "gcc or clang" in str(gpu_step.missing_because(device))
    monkeypatch.setattr(gpu_step, "MISSING", "Triton cannot be imported (no module)")
    assert "no module" in str(gpu_step.missing_because(device))
