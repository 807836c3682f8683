"""Sources of the kernels, and the processors that they are compiled for, with the compiler's flags for each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent / "src"
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-shared", "-fPIC")
"""Compiler flags of every target. Without contraction only the sources' multiply-adds are fused: the same bits from any
compiler."""
BF16 = "-bf16"
"""Ending of the names of targets that multiply bfloat16."""


@dataclass(frozen=True)
class Target:
    """A kind of processor.

    Attributes:
        name: the target's name in file names and reports.
        machines: values of ``platform.machine()``, by which systems call the architecture.
        flags: flags for GCC 12 or newer and for clang 14 or newer, beside ``FLAGS``.
        capability: start of the name that torch gives to the processor's capability; empty if all have it.
        feature: word in the line ``flags`` or ``Features`` of ``/proc/cpuinfo``; empty if the target needs none. macOS
            has it as ``sysctl -n hw.optional.arm.FEAT_<WORD>``, which prints 1.
    """

    name: str
    machines: tuple[str, ...]
    flags: tuple[str, ...]
    capability: str = ""
    feature: str = ""


_X86, _ARM = ("x86_64", "AMD64"), ("aarch64", "arm64")


def _x86(level: str) -> tuple[str, ...]:
    """Return the flags for a level; its mark has the system's loader refuse the library on lower processors."""
    return (f"-march={level}", f"-Wl,-z,{level}")


TARGETS = (
    Target("x86-64-v4-bf16", _X86, (*_x86("x86-64-v4"), "-mavx512bf16", "-mavx512vnni"), "AVX512", "avx512_bf16"),
    Target("x86-64-v4", _X86, _x86("x86-64-v4"), "AVX512"),
    Target("x86-64-v3", _X86, _x86("x86-64-v3"), "AVX2"),
    Target("aarch64-bf16", _ARM, ("-march=armv8.2-a+bf16+dotprod",), feature="bf16"),
    Target("aarch64", _ARM, ("-march=armv8-a",)),
)
"""All targets; of each architecture the fastest first."""


@cache
def sources_digest() -> str:
    """Return eight hexadecimal digits that change with the sources. In float32 the sources alone decide the bits."""
    digest = hashlib.sha256()
    for source in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")]):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:8]
