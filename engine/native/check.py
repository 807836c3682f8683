"""Before kernels are used on a machine they are compared with torch there: a step of two slots from a random state."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.frame_step import FrameStep
from engine.native.frame_program import FrameProgram
from engine.native.library import Library, NativeError
from engine.streaming import branch, clone, leaf, map_state

SLOTS = 2
TOLERANCE = 1e-3
"""Of logits, relative to the largest; rounding alone makes some 1e-5."""


@torch.inference_mode()
def check_kernels(step: FrameStep, library: Library) -> None:
    """Run one frame both ways.

    Raises:
        NativeError: the kernels are not made for this model, or compute something else than torch does.
    """
    draw = torch.Generator().manual_seed(0)

    def random(held: Tensor) -> Tensor:
        return torch.randn(held.shape, generator=draw) * 0.3 if held.is_floating_point() else held

    state = map_state(random, step.init_state(SLOTS, torch.device("cpu")))
    sampler = branch(state, "sampler")
    for name, values in (("temperature", [1.0, 0.0]), ("top_p", [0.95, 1.0]), ("seed", [1, 2])):
        leaf(sampler, name).copy_(torch.tensor(values))
    native_state = clone(state)
    program = FrameProgram(step, native_state, SLOTS, library)
    codes, samples = step(state, torch.ones(SLOTS, dtype=torch.bool))
    program.run(np.arange(SLOTS, dtype=np.int32), 0, SLOTS)
    logits, wanted = leaf(native_state, "logits"), leaf(state, "logits")
    error = float((logits - wanted).abs().max() / wanted.abs().max().clamp(min=1e-3))
    off = int(np.abs(program.samples.astype(int) - samples.numpy()).max())
    # Written so that what is not a number fails too.
    if not (program.codes.tolist() == codes.tolist() and error < TOLERANCE and off <= 2):
        raise NativeError(f"the kernels ({library.name}) do not compute what torch does on this processor")
