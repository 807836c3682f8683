"""Compilation of a program's kernels for several GPUs, down to machine code, with the resources that they take."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from whispergpt.engine.gpu.launch import ROW_BLOCK, Launch

CAPABILITIES = {80: 166_912, 89: 101_376, 90: 232_448}
"""Compute capabilities, ten times their number, and the shared memory in bytes that a block can have there (CUDA C++
Programming Guide, table of technical specifications): A100, L4 and H100."""
_ALIGNED = 16  # bytes; Triton compiles other code for addresses and numbers that are no multiple


@dataclass(frozen=True)
class Compiled:
    """One kernel, compiled for one GPU.

    Attributes:
        kernel: its name.
        capability: compute capability, ten times its number.
        warps: of 32 threads in each program.
        registers: of each thread.
        spilled: bytes of each thread that did not fit into registers.
        shared: bytes of shared memory of each program.
        tensor_cores: whether it multiplies with them.
        constants: sizes that it was compiled for.
    """

    kernel: str
    capability: int
    warps: int
    registers: int
    spilled: int
    shared: int
    tensor_cores: bool
    constants: dict[str, Any]

    @property
    def fits(self) -> bool:
        """Whether nothing spills and the shared memory is within the device's limit."""
        return self.spilled == 0 and self.shared <= CAPABILITIES[self.capability]


class _PretendedDriver:
    """Driver of a GPU that is not there, as far as Triton asks one to compile for it."""

    def __init__(self, capability: int) -> None:
        from triton.backends.compiler import GPUTarget

        self.get_current_target = lambda: GPUTarget("cuda", capability, 32)
        self.get_current_device = lambda: capability  # Triton keeps compiled kernels by the number of the device
        self.get_current_stream = lambda device: 0


Specialised = tuple[Any, ...]
"""All that a kernel's machine code depends on."""


def specialised(launch: Launch) -> Specialised:
    """Return what the machine code of a launch depends on; equal ones need one compilation."""
    kinds = tuple(_kind(launch.arguments[one.name], one.is_constexpr) for one in launch.kernel.params)
    return (launch.kernel, launch.warps, launch.stages, kinds)


def _kind(value: Any, constant: bool) -> Any:
    """Return what Triton looks at in an argument."""
    if isinstance(value, Tensor):
        return value.dtype, value.data_ptr() % _ALIGNED == 0
    return value if constant else (value == 1, value % _ALIGNED == 0)


def compiled(launch: Launch, capability: int) -> Compiled:
    """Compile the kernel of a launch for a compute capability, as an engine does on a GPU.

    Raises:
        Exception: whatever Triton says if it cannot.
    """
    from triton.runtime import driver

    driver.set_active(_PretendedDriver(capability))
    made = launch.compile(ROW_BLOCK)
    usage = _resource_usage(made.asm["cubin"])
    return Compiled(
        kernel=launch.name,
        capability=capability,
        warps=launch.warps,
        registers=usage["REG"],
        spilled=usage["LOCAL"] + usage["STACK"],
        shared=int(made.metadata.shared),
        tensor_cores="mma" in made.asm["ptx"],
        constants={one.name: launch.arguments[one.name] for one in launch.kernel.params if one.is_constexpr},
    )


def _resource_usage(machine_code: bytes) -> dict[str, int]:
    """Return registers, stack and local memory of a cubin, as the tool in Triton's package prints them."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(machine_code)
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", said)}
