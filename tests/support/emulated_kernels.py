"""The kernels compiled for ARM and run by an emulator, in the place of a loaded library."""

from __future__ import annotations

import ctypes
import subprocess
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from tests.support.tools import require_tool
from whispergpt.engine.model.streaming import State
from whispergpt.engine.native.codec_program import ConsecutiveProgram
from whispergpt.engine.native.frame_program import FrameProgram
from whispergpt.engine.native.kernels import Kernel, Rows
from whispergpt.engine.native.library import Library
from whispergpt.engine.native.targets import FLAGS, SOURCES, Target

_ROOT = "/usr/aarch64-linux-gnu"
_ALIGNED = 64


def emulated(target: Target, folder: Path, compiler: str, *flags: str) -> Library:
    """Compile the kernels for ``target`` into ``folder``, with further compiler ``flags``, and return them emulated."""
    require_tool("aarch64-linux-gnu-g++")  # clang takes its headers and libraries
    compiler = require_tool(compiler)
    emulator, library, runner = require_tool("qemu-aarch64"), folder / f"{target.name}.so", folder / "runner"
    subprocess.run([compiler, *FLAGS, *target.flags, *flags, SOURCES / "library.cpp", "-o", library], check=True)
    source = Path(__file__).with_name("run_program.cpp")
    subprocess.run([compiler, "-std=c++17", *flags, source, "-o", runner, "-ldl"], check=True)
    functions = _Emulated([emulator, "-cpu", "max", "-L", _ROOT, str(runner), str(library)], folder / "program")
    return Library(cast(ctypes.CDLL, functions), f"emulated-{target.name}")


def reach(program: FrameProgram | ConsecutiveProgram) -> None:
    """Tell an emulated library of the memory that a program has addresses in; do nothing for a loaded one."""
    functions: object = program._weights.library.functions
    if isinstance(functions, _Emulated):
        weights = [tensor for pair in program._weights._packed.values() for tensor in pair]
        for tensor in (*program._kept, *weights, *(leaf for _, leaf in leaves(program._state))):
            held = tensor.untyped_storage()
            functions.of(program._handle).memory[held.data_ptr()] = held


@dataclass
class _Program:
    """Operations as their names, parameters and the places of addresses in these; memory by its addresses."""

    operations: list[tuple[str, bytes, list[int]]] = field(default_factory=list)
    memory: dict[int, torch.UntypedStorage] = field(default_factory=dict)


class _Emulated:
    """The library's functions. A run copies the program's memory to the emulator, and back."""

    def __init__(self, command: list[str], file: Path) -> None:
        self._command, self._file = command, file
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        self._panel, self._pairs, self._group = (int(word) for word in told)
        self._programs: list[_Program] = []

    def whispergpt_panel(self) -> int:
        return self._panel

    def whispergpt_multiplies_pairs(self) -> bool:
        return bool(self._pairs)

    def whispergpt_group(self) -> int:
        return self._group

    def whispergpt_program(self) -> int:
        self._programs.append(_Program())
        return len(self._programs)

    def whispergpt_free(self, handle: ctypes.c_void_p) -> None:
        pass

    def whispergpt_stage(self, handle: ctypes.c_void_p, stage: int) -> None:
        pass

    def whispergpt_by_row(self, handle: ctypes.c_void_p, count: int, last_alone: bool) -> None:
        self.of(handle).operations.append(("whispergpt_by_row", _int64(count, last_alone), []))

    def whispergpt_in_tiles(self, handle: ctypes.c_void_p, count: int, rows: int) -> None:
        self.of(handle).operations.append(("whispergpt_in_tiles", _int64(count, rows), []))

    def __getattr__(self, symbol: str) -> Callable[[ctypes.c_void_p, Any], None]:
        def add(handle: ctypes.c_void_p, reference: Any) -> None:
            kernel: Kernel = reference._obj
            self.of(handle).operations.append((symbol, bytes(kernel), list(_addresses(type(kernel)))))

        return add

    def whispergpt_run(self, handle: ctypes.c_void_p, slots: int, begin: int, end: int, seconds: int) -> None:
        program, offsets, size = self.of(handle), dict[int, int](), 0
        for address, held in program.memory.items():
            offsets[address] = size
            size += -(-held.nbytes() // _ALIGNED) * _ALIGNED
        starts = sorted(offsets)

        def moved(address: int) -> int:
            start = starts[bisect_right(starts, address) - 1]
            assert start <= address < start + program.memory[start].nbytes()
            return offsets[start] + address - start

        with self._file.open("wb") as file:
            file.write(_int64(size))
            for address, held in program.memory.items():
                file.seek(8 + offsets[address])
                file.write(ctypes.string_at(address, held.nbytes()))
            file.seek(8 + size)
            file.write(_int64(len(program.operations)))
            for name, parameters, places in program.operations:
                words, changed = bytearray(parameters), []
                for place in places:
                    if address := int.from_bytes(words[place : place + 8], "little"):
                        words[place : place + 8] = _int64(moved(address))
                        changed.append(place)
                file.write(name.encode().ljust(64, b"\0"))
                file.write(_int64(len(words)) + words + _int64(len(changed), *changed))
            file.write(_int64(begin, end) + ctypes.string_at(slots, 4 * end))
        subprocess.run([*self._command, str(self._file)], check=True)
        with self._file.open("rb") as file:
            for address, held in program.memory.items():
                file.seek(8 + offsets[address])
                ctypes.memmove(address, file.read(held.nbytes()), held.nbytes())

    def of(self, handle: ctypes.c_void_p) -> _Program:
        assert handle.value
        return self._programs[handle.value - 1]


def _int64(*values: int) -> bytes:
    return np.array(values, np.int64).tobytes()


def _addresses(kernel: type[Kernel]) -> Iterator[int]:
    """Return the places of addresses in the parameters of a kernel."""
    for name, kind in kernel._fields_:  # type: ignore[misc]  # a structure may have bit fields, and these have none
        if kind in (Rows, ctypes.c_void_p) or issubclass(kind, ctypes._Pointer):
            yield getattr(kernel, name).offset


def leaves(state: State, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Return the tensors of a state with their paths."""
    for name, value in state.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}/{name}")
        else:
            yield f"{path}/{name}", value
