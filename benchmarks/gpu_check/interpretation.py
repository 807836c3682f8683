"""Comparison of the kernels with torch in Triton's interpreter, in float32.

``TRITON_INTERPRET=1 python -m whispergpt.benchmarks.gpu_check.interpretation FRAMES`` prints the result as JSON. The
interpreter is on or off for a whole process, so the check runs this module in one of its own.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from whispergpt.benchmarks.gpu_check.models import busy_state, small_step
from whispergpt.engine.gpu.emitter import UNUSED
from whispergpt.engine.gpu.frame_program import FrameProgram
from whispergpt.engine.gpu.language import INTERPRETED
from whispergpt.engine.gpu.launch import whole_blocks
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, clone

FRAMES = 200
SLOTS = 64
COMPANY = ([5], [7, 5, 0], [*range(20, 36), 5], list(range(64)))
"""Batches that slot 5 is computed in, at different rows."""
TOLERANCE = 1e-4
"""Largest error of samples, and of state relative to its largest number."""


@dataclass(frozen=True)
class Comparison:
    """The kernels beside torch.

    Attributes:
        frames: frames that were compared, of three streams.
        equal_codes: whether all codes were equal.
        sample_error: largest difference of samples, of 1 at full scale.
        state_error: largest difference of any state after the last frame, relative to its largest number.
        equal_in_company: whether a stream had the same bits in batches of 1, 3, 17 and 64.
    """

    frames: int
    equal_codes: bool
    sample_error: float
    state_error: float
    equal_in_company: bool

    @property
    def passed(self) -> bool:
        """Whether all is equal, or as near as rounding leaves it."""
        near = self.sample_error < TOLERANCE and self.state_error < TOLERANCE
        return self.equal_codes and near and self.equal_in_company


@torch.inference_mode()
def compare(step: FrameStep, frames: int = FRAMES) -> Comparison:
    """Run both from the same state and return how far apart they are."""
    slots = [2, 0, 3]
    expected = busy_state(step, 4)
    state = clone(expected)
    program = _program(step, state, slots)
    active = torch.tensor([True, False, True, True])
    equal, error = True, 0.0
    for _ in range(frames):
        codes, samples = step(expected, active)
        program.run(whole_blocks(len(slots)))
        equal &= torch.equal(program.codes[: len(slots)].long(), codes[slots])
        apart = (program.samples[: len(slots)].int() - samples[slots].int()).abs().max()
        error = max(error, float(apart) / 32767.0)
    return Comparison(frames, equal, error, _distance(state, expected, slots), _equal_in_company(step))


def _program(step: FrameStep, state: State, slots: list[int]) -> FrameProgram:
    program = FrameProgram(step, state, len(slots), torch.float32)
    program.slots[: len(slots)] = torch.tensor(slots, dtype=torch.int32)
    assert program.slots[len(slots) :].eq(UNUSED).all()
    return program


def _distance(ours: State, expected: State, slots: list[int]) -> float:
    """Return the largest difference in these slots, relative to the largest number; infinite for different integers."""
    worst = 0.0
    for name, value in expected.items():
        other = ours[name]
        if isinstance(value, Tensor):
            assert isinstance(other, Tensor)
            if value.is_floating_point():
                worst = max(worst, float((other - value)[slots].abs().max() / (value.abs().max() + 1.0)))
            elif not torch.equal(other[slots], value[slots]):
                return float("inf")
        else:
            assert isinstance(other, dict)
            worst = max(worst, _distance(other, value, slots))
    return worst


def _equal_in_company(step: FrameStep) -> bool:
    """Return whether slot 5 has the same bits after a frame in every batch of ``COMPANY``."""
    start = busy_state(step, SLOTS)
    found: list[list[Tensor]] = []
    for slots in COMPANY:
        state = clone(start)
        program = _program(step, state, slots)
        program.run(whole_blocks(len(slots)))
        row = slots.index(5)
        found.append([program.codes[row].clone(), program.samples[row].clone(), *_slot(state, 5)])
    return all(torch.equal(one, other) for own in found[1:] for one, other in zip(found[0], own, strict=True))


def _slot(state: State, slot: int) -> list[Tensor]:
    """Return all tensors of one slot."""
    found: list[Tensor] = []
    for held in state.values():
        found += [held[slot]] if isinstance(held, Tensor) else _slot(held, slot)
    return found


def main() -> int:
    """Print the comparison as JSON, and return 0 if it passed."""
    assert INTERPRETED, "this module needs TRITON_INTERPRET=1 and Triton"
    torch.set_num_threads(1)
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else FRAMES
    comparison = compare(small_step(), frames)
    print(json.dumps({**asdict(comparison), "passed": comparison.passed}))  # noqa: T201
    return 0 if comparison.passed else 1


if __name__ == "__main__":
    sys.exit(main())
