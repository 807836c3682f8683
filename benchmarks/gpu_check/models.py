"""Models that the check lays out, with random weights where none are installed, and their states."""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.engine.config import CodecConfig, FineConfig, ModelConfig, StackConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, branch, leaf
from whispergpt.engine.model.whisper_gpt import WhisperGPT

SMALL = ModelConfig(
    stack=StackConfig(64, 2, 2, 1, 96, 24),
    code_width=32,
    spectrogram=StackConfig(32, 1, 1, 1, 48, 8),
    fine=FineConfig(width=48, n_codebooks=3, dimension=20),
)
"""A hybrid with a fine stage that the interpreter computes in half a second; few of its sizes are powers of two."""
SMALL_CODEC = CodecConfig(n_filters=4, dimension=20, n_codebooks=3, lstm_layers=1, pad_mode="constant")
LOUDNESS = 0.1
"""Root mean square of the small codec's samples, of 1 at full scale."""


@torch.inference_mode()
def small_step() -> FrameStep:
    """Return the small model, with weights for which codes depend on everything that the model reads."""
    torch.manual_seed(0)
    step = FrameStep(Codec(SMALL_CODEC), WhisperGPT(SMALL)).eval().requires_grad_(False)
    for weight in step.model.parameters():
        weight.mul_(6 if weight.dim() > 1 else 1)
    codes = torch.randint(1024, (1, SMALL_CODEC.n_codebooks, 75))
    spoken = step.codec.decode(codes)
    last = [weight for name, weight in step.codec.decoder.named_parameters() if name.endswith("weight")][-1]
    last.mul_(LOUDNESS / float(spoken.std()))
    step.pack()
    return step


def busy_state(step: FrameStep, slots: int) -> State:
    """Return the state of ``slots`` streams in the middle of a continuation, each with other settings."""
    draw = torch.Generator().manual_seed(1)

    def random(state: State) -> None:
        for held in state.values():
            if isinstance(held, dict):
                random(held)
            elif held.is_floating_point():
                held.copy_(0.3 * torch.randn(held.shape, generator=draw))

    state = step.init_state(slots, torch.device("cpu"))
    random(state)
    number = torch.arange(slots)
    sampler = branch(state, "sampler")
    leaf(branch(state, "model"), "position").copy_(number * 37 % 100)
    leaf(sampler, "seed").copy_(number * 1_000_003)
    leaf(sampler, "frame").copy_(number * 41)
    leaf(sampler, "temperature").copy_(0.25 * (number % 5))  # every fifth stream is greedy
    leaf(sampler, "top_k").copy_(torch.where(number % 7 == 2, 40, 0))
    leaf(sampler, "top_p").copy_(torch.where(number % 7 == 3, 0.9, 1.0))
    return state


def in_format(state: State, dtype: torch.dtype) -> State:
    """Return a state whose rings are in ``dtype``, and are laid out as on a GPU."""
    found: State = {}
    for name, held in state.items():
        if isinstance(held, Tensor):
            found[name] = held.to(dtype) if name in ("keys", "values") else held
        else:
            found[name] = in_format(held, dtype)
    return found
