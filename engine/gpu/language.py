"""Triton as the kernels import it. Without Triton kernels are defined, but cannot run.

Kernels annotate addresses and blocks of numbers as ``tl.tensor``: Triton looks annotations up and allows no others.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = ["INTERPRETED", "MISSING", "jit", "next_power_of_two", "tl"]

try:
    import triton
    import triton.language as tl

    jit: Any = triton.jit
    """Decorator of a kernel, or of a function that kernels call."""
    MISSING: str | None = None
    """Reason why Triton cannot be used; None where it can."""
    INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
    """Whether kernels run in Triton's interpreter, on tensors of the CPU."""
except ImportError as error:

    class _Language:
        """Names that a kernel's signature needs to be defined."""

        constexpr = int

    tl: Any = _Language()  # type: ignore[no-redef]
    jit = lambda function: function  # noqa: E731
    INTERPRETED = False
    MISSING = f"Triton cannot be imported ({error})"


def next_power_of_two(count: int) -> int:
    """Return the smallest power of two that is at least ``count``: the sizes of a kernel's blocks are powers of two."""
    return 1 << max(0, count - 1).bit_length()


def _mend_interpreter() -> None:
    """Let the interpreter count loops whose bounds a kernel computes, and multiply without BLAS.

    Triton 3.6 converts arrays of one element with ``int``, which numpy 2.4 refuses. Its ``tl.dot`` in float32 is
    numpy's ``matmul``: on some processors (those with AVX2 alone) OpenBLAS adds in another order in other rows of a
    matrix, so that a stream's bits would depend on its company. Sums in float64, one after the other, do not.
    """
    import numpy as np
    from triton.runtime import interpreter

    dot = interpreter.InterpreterBuilder.create_dot

    def row_by_row(builder: Any, a: Any, b: Any, d: Any, *options: Any) -> Any:
        if not a.data.dtype == b.data.dtype == d.data.dtype == np.float32:
            return dot(builder, a, b, d, *options)
        product = np.einsum("...ik,...kj->...ij", a.data, b.data, dtype=np.float64, optimize=False)
        return interpreter.TensorHandle(product.astype(np.float32) + d.data, d.dtype.scalar)

    interpreter.InterpreterBuilder.create_dot = row_by_row
    patch = interpreter._patch_lang_tensor

    def mended(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = mended


if INTERPRETED:
    _mend_interpreter()
