"""What the GPU's kernels load and store, seen in Triton's interpreter: their own memory, in any order, and how much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity.test_gpu_codec import CPU, codec_of
from tests.parity.test_gpu_prompt import CHUNKS, FRAMES, NARROW, fresh, prompts
from tests.support.watched_kernels import watched
from whispergpt.benchmarks.gpu_check.models import busy_state, small_step
from whispergpt.engine.config import HOP, LIMITS_HZ
from whispergpt.engine.gpu.frame_program import FrameProgram
from whispergpt.engine.gpu.language import INTERPRETED
from whispergpt.engine.gpu.launch import ROW_BLOCK, Launch
from whispergpt.engine.gpu.prompt_path import LANES, DecodeLanes, EncodeLanes
from whispergpt.engine.low_pass import HISTORY
from whispergpt.engine.model.streaming import branch, leaf

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="Triton's interpreter is off or Triton is missing")


def tensors_of(launches: Sequence[Launch]) -> list[Tensor]:
    return [value for launch in launches for value in launch.arguments.values() if isinstance(value, Tensor)]


@torch.inference_mode()
def test_a_step_moves_the_bytes_that_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every row in use and every ring full; few streams are limited, whose filter alone is counted for all."""
    step = small_step()
    state = busy_state(step, ROW_BLOCK)
    leaf(branch(state, "model"), "position").add_(10_000)
    program = FrameProgram(step, state, ROW_BLOCK, torch.float32)
    program.slots.copy_(torch.randperm(ROW_BLOCK))
    program.low_pass.begin([3], [LIMITS_HZ[0]], [np.zeros(HISTORY, np.int16)])
    with watched(monkeypatch, tensors_of(program.launches)) as seen:
        program.run(ROW_BLOCK)
    assert len(seen) == len(program.launches) and all(each.independent for each in seen)
    for each in seen:
        moved = each.bytes / each.launch.cost.total_bytes(ROW_BLOCK)
        assert 0.9 < moved < 1.02 or each.launch.name == "to_16_bits", f"{each.launch.name}: {moved:.3f}"
    counted = sum(launch.cost.total_bytes(ROW_BLOCK) for launch in program.launches)
    assert 0.97 < sum(each.bytes for each in seen) / counted < 1.01


@torch.inference_mode()
def test_lanes_keep_to_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream's first chunk, whose beginning is mirrored, and a short one behind it, of two prompts."""
    codec = codec_of(NARROW)
    sounds, own, (encoder, decoder) = prompts(codec)[:2], [fresh(codec) for _ in range(2)], fresh(codec, LANES)
    encode, decode = EncodeLanes(codec, encoder, CPU, FRAMES), DecodeLanes(codec, decoder, CPU, torch.float32, FRAMES)
    latent = leaf(decoder, "latent")  # which only the last kernel uses
    begin = [sound[: CHUNKS[0] * HOP] for sound in sounds]
    with watched(monkeypatch, [latent, *tensors_of([*encode.launches, *decode.launches])]) as seen:
        codes = encode.encode([encoder for encoder, _ in own], begin, [True, True])
        decode.decode([decoder for _, decoder in own], codes, [True, True])
        decode.decode([decoder for _, decoder in own], [chunk[:, :1] for chunk in codes], [False, False])
    assert len(seen) == len(encode.launches) + 2 * len(decode.launches)
    assert all(each.independent for each in seen)
