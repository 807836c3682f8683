"""Triton as the kernels import it: ``tl``, ``jit`` and ``next_power_of_two``. Without Triton kernels are defined, but
cannot run."""

from __future__ import annotations

from typing import Any, TypeAlias

try:
    import triton
    import triton.language as tl

    jit: Any = triton.jit
    """Decorator of a kernel, or of a function that kernels call."""
    MISSING: str | None = None
    """Reason why Triton cannot be used; None where it can."""
except ImportError as error:

    class _Language:
        """Names that a kernel's signature needs to be defined."""

        constexpr = int

    tl: Any = _Language()  # type: ignore[no-redef]
    jit = lambda function: function  # noqa: E731
    MISSING = f"Triton cannot be imported ({error})"

Pointer: TypeAlias = Any
"""A tensor's address inside a kernel."""
Value: TypeAlias = Any
"""A block of numbers inside a kernel."""


def next_power_of_two(count: int) -> int:
    """Return the smallest power of two that is at least ``count``: the sizes of a kernel's blocks are powers of two."""
    return 1 << max(0, count - 1).bit_length()
