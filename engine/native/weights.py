"""Weights in the kernels' layout, packed once for all programs of a model."""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.engine.native.library import Library

_Key = tuple[int, torch.Size, tuple[int, ...], int, bool]


class Weights:
    """Panels of weights for one library (see `src/linear.h`); programs that multiply by the same tensor share them.

    Attributes:
        dtype: of products. In bfloat16 inputs and weights are rounded, and sums are float32.
    """

    def __init__(self, library: Library, dtype: torch.dtype = torch.float32) -> None:
        self.library, self.dtype = library, dtype
        self._panel = int(library.functions.whispergpt_panel())
        self._packed: dict[_Key, tuple[Tensor, Tensor]] = {}
        self._sources: list[Tensor | None] = []  # kept alive, so that no other tensor gets their address

    def packed(self, weight: Tensor, bias: Tensor | None, pairs: bool = False) -> tuple[Tensor, Tensor]:
        """Pack ``[N, K]`` and ``[N]`` → panels, in half precision if that changes no weight, and the padded bias.

        ``pairs``: pack in bfloat16, two inputs beside each other.
        """
        key = (weight.data_ptr(), weight.shape, weight.stride(), 0 if bias is None else bias.data_ptr(), pairs)
        if key not in self._packed:
            self._packed[key] = self._pack(weight.detach(), bias, pairs)
            self._sources += [weight, bias]
        return self._packed[key]

    def _pack(self, weight: Tensor, bias: Tensor | None, pairs: bool) -> tuple[Tensor, Tensor]:
        outputs, inputs = weight.shape
        panels = -(-outputs // self._panel)
        padded = torch.zeros(panels * self._panel, inputs)
        padded[:outputs] = weight
        if pairs:
            packed = padded.view(panels, self._panel, inputs // 2, 2).transpose(1, 2).contiguous().bfloat16()
        else:
            packed = padded.view(panels, self._panel, inputs).transpose(1, 2).contiguous()
            if torch.equal(packed.half().float(), packed):
                packed = packed.half()
        shift = torch.zeros(panels * self._panel)
        if bias is not None:
            shift[:outputs] = bias
        return packed, shift
