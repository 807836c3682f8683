"""Weights in the kernels' layout, packed once for all programs of a model."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from whispergpt.engine.large_pages import LargePages
from whispergpt.engine.native.library import Library

_Key = tuple[torch.dtype | tuple[int, torch.Size, tuple[int, ...]] | None, ...]


def whole_numbers(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row of ``[N, K]`` to whole numbers from -127 to 127, int8, times a scale ``[N]``."""
    most = rows.abs().amax(1)
    factors = torch.where(most > 1e-30, 127 / most, 0)
    return (rows * factors[:, None]).round().to(torch.int8), most / 127


def _key(*sources: Tensor | None) -> _Key:
    return tuple((t.data_ptr(), t.shape, t.stride()) if t is not None else None for t in sources)


class Weights:
    """Panels of weights for one library (see `src/linear.h`); programs that multiply by the same tensor share them.

    Attributes:
        dtype: of products. In bfloat16 inputs and weights are rounded, and sums are float32. In int8 both are whole
            numbers from -127 to 127 times a scale, see `src/byte_product.h`.
    """

    def __init__(self, library: Library, dtype: torch.dtype = torch.float32) -> None:
        self.library, self.dtype = library, dtype
        self._panel = int(library.functions.whispergpt_panel())
        self._group = int(library.functions.whispergpt_group())
        self._memory = LargePages()
        self._packed: dict[_Key, tuple[Tensor, ...]] = {}
        self._derived: dict[tuple[Hashable, ...], Tensor] = {}
        self._sources: list[Tensor | None] = []  # kept alive, so that no other tensor gets their address

    def packed(
        self,
        weight: Tensor,
        bias: Tensor | None,
        pairs: bool = False,
        more: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Pack ``[N, K]`` and ``[N]`` → panels, in half precision if that changes no weight, and the padded bias.

        Args:
            pairs: pack in bfloat16, two inputs beside each other.
            more: weights ``[N, K']`` and bias of more inputs, which follow the others.
        """

        def pack() -> tuple[Tensor, Tensor]:
            if more is None:
                return self._pack(weight.detach(), bias, pairs)
            assert bias is not None
            return self._pack(torch.cat([weight, more[0]], 1).detach(), bias + more[1], pairs)

        packed, shift = self._once(torch.bfloat16 if pairs else torch.float32, [weight, bias, *(more or ())], pack)
        return packed, shift

    def in_bytes(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
        """Round ``[N, K]`` to 8 bits; return it packed, with scales, sums and bias, as `ByteProduct` takes them."""
        return self._once(torch.int8, [weight, bias], lambda: self._pack_bytes(weight.detach(), bias))

    def derived(self, how: Callable[..., Tensor], *sources: Tensor) -> Tensor:
        """Return ``how`` of tensors, always the same result, so that it is kept and packed once."""
        key = (how, *_key(*sources))
        if key not in self._derived:
            self._derived[key] = how(*(source.detach() for source in sources))
            self._sources += sources
        return self._derived[key]

    def _once(
        self, dtype: torch.dtype, sources: Sequence[Tensor | None], pack: Callable[[], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """Return what ``pack`` returned for these tensors when they were first packed as ``dtype``."""
        key = (dtype, *_key(*sources))
        if key not in self._packed:
            self._packed[key] = tuple(self._memory.copy(part) for part in pack())
            self._sources += sources
        return self._packed[key]

    def _pack_bytes(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
        outputs, inputs = weight.shape
        panels = -(-outputs // self._panel)
        numbers, scales = whole_numbers(weight)
        padded = torch.zeros(panels * self._panel, inputs, dtype=torch.int8)
        padded[:outputs] = numbers
        groups = padded.view(panels, self._panel, inputs // self._group, self._group).transpose(1, 2).contiguous()
        ends = torch.zeros(3, panels * self._panel)
        ends[0, :outputs], ends[1] = scales, padded.sum(1)
        if bias is not None:
            ends[2, :outputs] = bias
        return groups, *ends

    def _pack(self, weight: Tensor, bias: Tensor | None, pairs: bool) -> tuple[Tensor, Tensor]:
        outputs, inputs = weight.shape
        panel = self._panel // 2 if pairs and 2 * outputs <= self._panel else self._panel
        panels = -(-outputs // panel)
        padded = torch.zeros(panels * panel, inputs)
        padded[:outputs] = weight
        if pairs:
            packed = padded.view(panels, panel, inputs // 2, 2).transpose(1, 2).contiguous().bfloat16()
        else:
            packed = padded.view(panels, panel, inputs).transpose(1, 2).contiguous()
            if torch.equal(packed.half().float(), packed):
                packed = packed.half()
        shift = torch.zeros(panels * panel)
        if bias is not None:
            shift[:outputs] = bias
        return packed, shift
