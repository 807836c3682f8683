"""Numbers that layers of the codec keep for the next frame, and the launch that writes them to the state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whispergpt.engine.gpu.block_sizes import IN_THE_INTERPRETER, ON_A_GPU
from whispergpt.engine.gpu.emitter import Emitter, Signal
from whispergpt.engine.gpu.kernels import contexts
from whispergpt.engine.gpu.language import INTERPRETED
from whispergpt.engine.gpu.launch import ROW_BLOCK, Cost


@dataclass(frozen=True)
class Context:
    """A signal, and the state whose slots, from ``offset`` on, keep its last ``size`` numbers."""

    signal: Signal
    state: Tensor
    offset: int
    size: int
    through_elu: bool
    replaces: bool = False
    """Whether the signal is only as long as the state."""

    def line(self, frames: int) -> list[int]:
        """Return the context's line in the table of ``kernels.contexts``."""
        memory, state = self.signal.memory, self.state
        return [
            memory.data_ptr(),
            memory.stride(0),
            self.signal.times * self.signal.width // frames,
            state.data_ptr() + self.offset * state.element_size(),
            state.stride(0),
            self.size,
            int(self.through_elu),
            int(memory.dtype == torch.bfloat16),
            int(self.replaces),
        ]


class ContextLayers:
    """Appends layers of the codec to a program, for ``frames`` frames of each row.

    Args:
        emitter: the program.
        frames: frames of each row in one run.
        counts: how many of them a row has, int32 ``[rows]``; None if every row has all.
        cold: 1 for rows whose stream starts with these frames, int32 ``[rows]``; None if none does. It matters with
            reflection padding alone, and such rows have at least ``frames_to_prime`` frames.
    """

    def __init__(
        self, emitter: Emitter, frames: int = 1, counts: Tensor | None = None, cold: Tensor | None = None
    ) -> None:
        self._emitter, self._frames, self._counts, self._cold = emitter, frames, counts, cold
        self._blocks = IN_THE_INTERPRETER if INTERPRETED else ON_A_GPU[emitter.dtype]
        self._rows = min(ROW_BLOCK, emitter.rows)  # every batch has a multiple of these
        self._contexts: list[Context] = []

    @property
    def _precision(self) -> str:
        """Return the precision of products whose operands stay in float32 in every program."""
        return "ieee" if self._emitter.dtype == torch.float32 else "tf32x3"

    def _output(self, times: int, width: int, exact: bool) -> Signal:
        return self._emitter.buffer(times, width) if exact else self._emitter.operand_buffer(times, width)

    def _keep(self, x: Signal, state: Tensor, through_elu: bool, offset: int = 0, size: int | None = None) -> None:
        """Have the end of ``x`` written to each slot of ``state`` by the end of the program.

        ``offset``, ``size``: part of the slot; all of it by default.
        """
        assert state.dtype == torch.float32 and state[0].is_contiguous()
        whole = state[0].numel() if size is None else size
        self._contexts.append(Context(x, state, offset, whole, through_elu))

    def keep_end(self, x: Signal, state: Tensor) -> None:
        """Have the last numbers of ``x`` written to ``state`` ``[slots, numbers]`` by the end of the program."""
        self._keep(x, state, through_elu=False)

    def _samples_of(self, times: int) -> int:
        """Return how many samples a program computes where a row has ``times``."""
        return self._blocks.samples_of(self._rows * times)

    def keep_contexts(self) -> None:
        """Emit the writing of all contexts to the state: the end of a program.

        The table has addresses, whose tensors the program must keep: signals in its launches, and its state.
        """
        kept, self._contexts = self._contexts, []
        if not kept:
            return
        table = torch.tensor([context.line(self._frames) for context in kept], device=self._emitter.device)
        rows_at_once = min(self._blocks.rows, self._rows)
        self._emitter.emit(
            contexts.contexts,
            lambda rows: (rows // rows_at_once, len(kept)),
            {
                "table": table,
                "frames": self._emitter.slots if self._counts is None else self._counts,
                "FRAMES": self._frames,
                "COUNTED": self._counts is not None,
                "COLUMNS": table.shape[1],
                "BM": rows_at_once,
                "BW": 32 * rows_at_once,
            },
            Cost(row_bytes=sum(2 * 4 * context.size for context in kept)),
        )
