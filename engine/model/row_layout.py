"""Layout of a state whose slots are rows of one buffer: a slot is filled by one copy, and many slots by one call."""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.engine.large_pages import LINE, in_large_pages
from whispergpt.engine.model.streaming import State, map_state


class RowLayout:
    """Places of a slot's tensors in its row.

    Tensors of one number a slot stay columns ``[slots]`` of their own, which kernels index without a stride. A row is
    an odd number of cache lines, so that the same tensor of many slots does not crowd a few sets of a cache.

    Args:
        template: a state of one slot on any device.

    Attributes:
        bytes: length of a row.
    """

    def __init__(self, template: State) -> None:
        self._template = map_state(lambda t: t.to("meta"), template)
        self.bytes = 0
        self._begins: dict[int, int] = {}  # bytes from the row's start, by the template's tensor
        map_state(self._place, self._template)
        self.bytes += LINE * (self.bytes // LINE % 2 == 0)

    def _place(self, tensor: Tensor) -> Tensor:
        if tensor.dim() > 1:
            self._begins[id(tensor)] = self.bytes
            self.bytes += -(-tensor.nbytes // LINE) * LINE
        return tensor

    def zeros(self, slots: int, device: torch.device) -> State:
        """Return a zeroed state of ``slots`` slots."""
        buffer = in_large_pages(torch.empty(slots, self.bytes, dtype=torch.uint8, device=device)).zero_()
        typed = {dtype: buffer.view(dtype) for dtype in (torch.float32, torch.bfloat16, torch.int8, torch.int64)}

        def view(like: Tensor) -> Tensor:
            if like.dim() == 1:
                return torch.zeros(slots, dtype=like.dtype, device=device)
            of, size = typed[like.dtype], like.element_size()
            return of.as_strided(
                (slots, *like.shape[1:]), (self.bytes // size, *like.stride()[1:]), self._begins[id(like)] // size
            )

        return map_state(view, self._template)


def whole_rows(state: State) -> Tensor:
    """Return the buffer ``[slots, bytes]`` whose rows a state's slots are."""
    within = _first_in_row(state)
    assert within is not None
    whole = torch.empty(0, dtype=torch.uint8, device=within.device).set_(within.untyped_storage())
    return whole.view(len(within), -1)


def _first_in_row(state: State) -> Tensor | None:
    for value in state.values():
        found = _first_in_row(value) if isinstance(value, dict) else value if value.dim() > 1 else None
        if found is not None:
            return found
    return None
