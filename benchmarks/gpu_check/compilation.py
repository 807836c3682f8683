"""Compilation of a program's kernels for several GPUs, down to machine code, with the resources that they take."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whispergpt.engine.gpu.launch import Launch

CAPABILITIES = {80: 166_912, 89: 101_376, 90: 232_448}
"""Compute capabilities, ten times their number, and the shared memory in bytes that a block can have there (CUDA C++
Programming Guide, table of technical specifications): A100, L4 and H100."""
_TYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.uint8: "*u8",
}
_ALIGNED = 16  # bytes; Triton compiles other code for addresses that are not


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


Specialised = tuple[Any, ...]
"""All that a kernel's machine code depends on."""


def specialised(launch: Launch) -> Specialised:
    """Return what the machine code of a launch depends on; equal ones need one compilation."""
    kinds = tuple(
        (name, value.dtype if isinstance(value, Tensor) else value) for name, value in launch.arguments.items()
    )
    return (launch.kernel, launch.warps, launch.stages, kinds)


def compiled(launch: Launch, capability: int) -> Compiled:
    """Compile the kernel of a launch for a compute capability.

    Raises:
        Exception: whatever Triton says if it cannot.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    aligned: dict[tuple[int, ...], list[list[Any]]] = {}
    for index, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        if parameter.is_constexpr:
            signature[parameter.name], constants[parameter.name] = "constexpr", value
        elif isinstance(value, Tensor):
            signature[parameter.name] = _TYPES[value.dtype]
            if value.data_ptr() % _ALIGNED == 0:
                aligned[(index,)] = [["tt.divisibility", _ALIGNED]]
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=aligned)
    options = {"num_warps": launch.warps, "num_stages": launch.stages}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    usage = _resource_usage(made.asm["cubin"])
    return Compiled(
        kernel=launch.name,
        capability=capability,
        warps=launch.warps,
        registers=usage["REG"],
        spilled=usage["LOCAL"] + usage["STACK"],
        shared=int(made.metadata.shared),
        tensor_cores="mma" in made.asm["ptx"],
        constants=constants,
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
