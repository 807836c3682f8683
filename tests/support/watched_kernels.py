"""Every address that kernels use in Triton's interpreter: whether it is theirs, and how much memory they move.

A GPU runs a kernel's programs in any order and at once. So no program may use what another program of the same launch
writes. An address outside a launch's tensors ends a GPU's process, or is somebody else's memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from whispergpt.engine.gpu.launch import Launch


class _Memory:
    """What a launch has used of one storage, in steps of ``unit`` bytes.

    Attributes:
        loaded, stored: bytes of the number that was loaded or stored there; 0 for none.
        reader, writer: number of the first program that did so.
        shared: whether several programs have read there.
    """

    def __init__(self, tensor: Tensor, unit: int) -> None:
        self.begin, self.unit, size = tensor.untyped_storage().data_ptr(), unit, tensor.untyped_storage().nbytes()
        self.end = self.begin + size
        self.loaded, self.stored = (np.zeros(size // unit, np.uint8) for _ in range(2))
        self.reader, self.writer = (np.zeros(size // unit, np.int32) for _ in range(2))
        self.shared = np.zeros(size // unit, bool)

    def load(self, at: Any, program: int, size: int) -> None:
        before = self.reader[at]
        self.shared[at] |= (before != 0) & (before != program)
        self.reader[at], self.loaded[at] = np.where(before, before, program), size

    def store(self, at: Any, program: int, size: int) -> None:
        before = self.writer[at]
        assert ((before == 0) | (before == program)).all(), "two programs write the same number"
        self.writer[at], self.stored[at] = program, size


class Seen:
    """What one launch has loaded and stored.

    Args:
        besides: tensors whose addresses it has from elsewhere than its arguments.
    """

    def __init__(self, launch: Launch, besides: Sequence[Tensor]) -> None:
        self.launch = launch
        given = [value for value in launch.arguments.values() if isinstance(value, Tensor)]
        units: dict[int, int] = {}
        tensors: dict[int, Tensor] = {}
        for tensor in [*given, *besides]:
            begin = tensor.untyped_storage().data_ptr()
            tensors[begin], units[begin] = tensor, min(units.get(begin, 8), tensor.element_size())
        self._memories = [_Memory(tensors[begin], units[begin]) for begin in sorted(tensors)]
        self._begins = np.array([memory.begin for memory in self._memories], np.int64)
        self._programs: dict[tuple[int, ...], int] = {}

    def use(self, kind: str, addresses: Any, place: tuple[int, ...], size: int) -> None:
        """Note that the program at a place of the grid loads or stores numbers of ``size`` bytes."""
        program = self._programs.setdefault(place, len(self._programs) + 1)
        of = np.searchsorted(self._begins, addresses, side="right") - 1
        for number in np.unique(of).tolist():
            own, memory = addresses[of == number], self._memories[number]
            assert number >= 0 and int(own.max()) + size <= memory.end, f"{self.launch.name} is out of bounds"
            try:
                getattr(memory, kind)((own - memory.begin) // memory.unit, program, size)
            except AssertionError as error:
                raise AssertionError(f"{self.launch.name}: {error}") from None

    @property
    def independent(self) -> bool:
        """Return whether no program has read what another has written."""
        return not any(
            ((one.writer != 0) & (one.shared | ((one.reader != 0) & (one.reader != one.writer)))).any()
            for one in self._memories
        )

    @property
    def bytes(self) -> int:
        """Return the bytes that are moved if each is loaded once and stored once."""
        return sum(int(one.loaded.sum(dtype=np.int64) + one.stored.sum(dtype=np.int64)) for one in self._memories)


@contextmanager
def watched(patch: pytest.MonkeyPatch, besides: Sequence[Tensor]) -> Iterator[list[Seen]]:
    """Return a context that appends to a list what each launch within it uses."""
    from triton.runtime.interpreter import interpreter_builder as builder

    seen: list[Seen] = []
    load, store, run = builder.create_masked_load, builder.create_masked_store, Launch.run

    def note(kind: str, at: Any, mask: Any) -> None:
        addresses = np.asarray(at.data).astype(np.int64)
        used = addresses[np.broadcast_to(mask.data, addresses.shape).astype(bool)]
        if used.size:
            seen[-1].use(kind, used, tuple(builder.grid_idx), at.get_element_ty().primitive_bitwidth // 8)

    def loading(at: Any, mask: Any, *rest: Any) -> Any:
        note("load", at, mask)
        return load(at, mask, *rest)

    def storing(at: Any, value: Any, mask: Any, *rest: Any) -> Any:
        note("store", at, mask)
        return store(at, value, mask, *rest)

    def launching(self: Launch, rows: int) -> None:
        seen.append(Seen(self, besides))
        run(self, rows)

    with patch.context() as within:
        within.setattr(builder, "create_masked_load", loading)
        within.setattr(builder, "create_masked_store", storing)
        within.setattr(Launch, "run", launching)
        yield seen
