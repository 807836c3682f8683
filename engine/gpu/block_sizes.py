"""Block sizes of the codec's kernels, on GPUs and in Triton's interpreter."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from whispergpt.engine.gpu.language import next_power_of_two

LEAST = 16
"""Smallest size of a block that ``tl.dot`` takes."""
WIDEST_JOINED = 128
"""Most channels of a stage that one kernel computes."""


@dataclass(frozen=True)
class Blocks:
    """Block sizes of the kernels: numbers that one program computes.

    Attributes:
        samples: output samples of a product, of any rows: at most ``ROW_BLOCK``, or a multiple of it.
        outputs: outputs of a product for each sample.
        inputs: inputs that are multiplied at once.
        units: units of an LSTM.
        rows: rows whose contexts are kept.
        slices: frames whose spectrum is computed.
        joined: whether one kernel computes a stage of the decoder.
        warps: of a convolution and a residual unit.
        in_parts: whether the hidden vectors of residual units go through memory.
    """

    samples: int = 64
    outputs: int = 64
    inputs: int = 32
    units: int = 32
    rows: int = 8
    slices: int = 32
    joined: bool = True
    warps: int = 4
    in_parts: bool = False

    def samples_of(self, count: int) -> int:
        """Return the samples of a program where a block of rows has ``count``: the largest power of two that fits."""
        return min(self.samples, count & -count)

    def outputs_of(self, count: int) -> int:
        """Return the outputs of a program where there are ``count``."""
        return min(self.outputs, max(LEAST, next_power_of_two(count)))

    def inputs_of(self, count: int) -> int:
        """Return the inputs at once where there are ``count``."""
        return min(self.inputs, max(LEAST, next_power_of_two(count)))


ON_A_GPU = {torch.bfloat16: Blocks(), torch.float32: Blocks(inputs=16, joined=False, warps=8, in_parts=True)}
"""Blocks on GPUs by the format of products: with these no kernel needs more registers than a thread has."""
IN_THE_INTERPRETER = Blocks(samples=4096, outputs=1024, inputs=512, units=256, rows=64, slices=64)
"""Blocks of Triton's interpreter, where an operation takes about as long for many numbers as for one."""
