"""A slot is one row of one buffer: filling, and what is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from whispergpt.engine.backends.prompt_path import PromptState
from whispergpt.engine.config import HYBRID, SMALL_CODEC, FineConfig
from whispergpt.engine.model.cache import init_ring
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.row_layout import LINE, whole_rows
from whispergpt.engine.model.streaming import State, branch, leaf, map_state, state_bytes
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import SamplingParams
from whispergpt.engine.streams.slots import Slots

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["drawn", "nearest"])
def step(request: pytest.FixtureRequest) -> FrameStep:
    torch.manual_seed(0)
    config = replace(HYBRID, fine=FineConfig(kind=request.param))
    return FrameStep(Codec(SMALL_CODEC), WhisperGPT(config)).eval().requires_grad_(False)


def tensors(state: State) -> Iterator[Tensor]:
    for value in state.values():
        if isinstance(value, dict):
            yield from tensors(value)
        else:
            yield value


@pytest.mark.parametrize("kept_in", [torch.float32, torch.bfloat16])
def test_a_slot_is_a_row(step: FrameStep, kept_in: torch.dtype) -> None:
    state = step.init_state(5, CPU, kept_in)
    row = whole_rows(state)
    assert row.shape[0] == 5 and row.shape[1] // LINE % 2 == 1 and not row.any()
    assert row.shape[1] < 1.05 * state_bytes(state) / 5
    many = [tensor for tensor in tensors(state) if tensor.dim() > 1]
    assert all(tensor.data_ptr() % LINE == row.data_ptr() % LINE and tensor[0].is_contiguous() for tensor in many)
    assert all(tensor.is_contiguous() for tensor in tensors(state) if tensor.dim() == 1)
    for number, tensor in enumerate(many, 1):
        tensor[3].fill_(number)
    assert all(bool((tensor[3] == number).all()) for number, tensor in enumerate(many, 1)), "no two overlap"
    assert not row[[0, 1, 2, 4]].any()


@pytest.mark.parametrize("kept_in", [torch.float32, torch.bfloat16, torch.int8])
def test_rings_have_the_places_that_kernels_write(kept_in: torch.dtype) -> None:
    """A window that is no multiple of their blocks; a GPU's kernels have no blocks."""
    stack = replace(HYBRID.stack, window=50)
    step = FrameStep(Codec(SMALL_CODEC), WhisperGPT(replace(HYBRID, stack=stack)))
    for device in (CPU, torch.device("meta")):
        ring = branch(branch(branch(step.init_state(2, device, kept_in), "model"), "stack"), "0")
        wanted = init_ring(2, stack, device, kept_in)
        assert {name: leaf(ring, name).shape for name in ring} == {name: leaf(wanted, name).shape for name in wanted}


def prompt_of(step: FrameStep, seed: int) -> Prompt:
    """A prompt whose state is random."""
    draw = torch.Generator().manual_seed(seed)
    state = PromptState.fresh(step, CPU).stream
    map_state(lambda t: t.copy_(torch.randn(t.shape, generator=draw)) if t.is_floating_point() else t, state)
    leaf(branch(state, "model"), "position").fill_(40 + seed)
    return Prompt(torch.zeros(8, 40 + seed), torch.zeros(0), state, 0.0, 0.0)


def test_slots_are_filled_together_and_others_left_alone(step: FrameStep) -> None:
    slots = Slots(step, 6, CPU, torch.float32)
    prompts = [prompt_of(step, seed) for seed in (1, 2)]
    sampling = [SamplingParams(2**53 - 1, 0.5, 7, 0.25), SamplingParams(4, 2.0, 0, 1.0)]
    slots.fill([4, 1], prompts, sampling, [0, 33])
    for slot, prompt in ((4, prompts[0]), (1, prompts[1])):
        filled, wanted = dict(slots[slot]), dict(prompt.state)
        filled.pop("sampler"), wanted.pop("sampler")
        map_state(lambda a, b: a if torch.equal(a, b) else pytest.fail("a tensor differs"), filled, wanted)
    sampler = branch(slots.state, "sampler")
    rows = {name: leaf(sampler, name)[[4, 1]].tolist() for name in sampler}
    assert rows == {
        "seed": [2**53 - 1, 4],
        "frame": [0, 33],
        "temperature": [0.5, 2.0],
        "top_k": [7, 0],
        "top_p": [0.25, 1.0],
    }
    untouched = [0, 2, 3, 5]
    assert not whole_rows(slots.state)[untouched].any()
    assert not any(tensor[untouched].any() for tensor in tensors(slots.state))
    slots.set_sampling([1], [sampling[0]])
    assert leaf(sampler, "seed")[[4, 1]].tolist() == [2**53 - 1] * 2 and int(leaf(sampler, "frame")[1]) == 33
    assert np.isfinite(leaf(slots.state, "logits").numpy()).all()
