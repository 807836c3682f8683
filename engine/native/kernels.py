"""The kernels' parameters as ctypes structures, with the fields that `src/*.h` explains; `in` is `input`."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_bool, c_float, c_int, c_int16, c_int32, c_int64, c_uint8, c_void_p, cast
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from ctypes import _Pointer

    Codes = _Pointer[c_int32]

NONE, GELU, ELU = range(3)
"""Activations of a product."""
STORED = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
"""Formats in which weights are stored, by `Stored` of `src/linear.h`; in bfloat16 two inputs make a pair."""

MOST_IN_GROUP = 4
"""Most inputs in a group of `src/byte_product.h`; a product in 8 bits has whole groups on every processor."""
FEWEST_ROUNDED = 16
"""Fewest inputs that are rounded together: those of a vector."""
KEPT = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
"""Formats of keys and values, by `Kept` of `src/attention.h`."""


class Rows(Structure):
    """Rows of floats, one for each stream of a batch or each slot."""

    _fields_ = [("data", c_void_p), ("stride", c_int64)]

    @classmethod
    def of(cls, tensor: Tensor, offset: int = 0) -> Rows:
        """Return the rows of a tensor, each from ``offset`` floats on."""
        assert tensor.dtype == torch.float32 and tensor[0].is_contiguous()
        return cls(tensor.data_ptr() + 4 * offset, tensor.stride(0))

    @classmethod
    def of_ring(cls, tensor: Tensor) -> Rows:
        """Return the slots of a ring of keys or values as rows."""
        assert tensor.dtype in KEPT and tensor[0].is_contiguous()
        return cls(tensor.data_ptr(), tensor.stride(0) * tensor.element_size() // 4)


def codes_at(array: npt.NDArray[np.int32]) -> Codes:
    """Return the address of codes, one for each row."""
    return cast(array.ctypes.data, POINTER(c_int32))


def samples_at(array: npt.NDArray[np.int16]) -> _Pointer[c_int16]:
    """Return the address of 16-bit samples, row after row."""
    return cast(array.ctypes.data, POINTER(c_int16))


def flags_at(array: npt.NDArray[np.uint8]) -> _Pointer[c_uint8]:
    """Return the address of flags, one for each row."""
    return cast(array.ctypes.data, POINTER(c_uint8))


class Kernel(Structure):
    symbol: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        words = "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__)
        cls.symbol = f"whispergpt{words}"


class Linear(Kernel):
    _fields_ = [
        ("input", Rows),
        ("times", c_int64),
        ("step", c_int64),
        ("inputs", c_int64),
        ("more", Rows),
        ("more_inputs", c_int64),
        ("outputs", c_int64),
        ("weights", c_void_p),
        ("stored", c_int),
        ("bias", c_void_p),
        ("out", Rows),
        ("added", Rows),
        ("out_step", c_int64),
        ("activation", c_int),
        ("takes_pairs", c_bool),
        ("gives_pairs", c_bool),
    ]


class ByteProduct(Kernel):
    _fields_ = [
        ("input", Rows),
        ("times", c_int64),
        ("step", c_int64),
        ("inputs", c_int64),
        ("outputs", c_int64),
        ("weights", c_void_p),
        ("scales", c_void_p),
        ("sums", c_void_p),
        ("bias", c_void_p),
        ("out", Rows),
        ("activation", c_int),
        ("add", c_bool),
    ]


class Window(Kernel):
    _fields_ = [
        ("input", Rows),
        ("times", c_int64),
        ("width", c_int64),
        ("context", c_int64),
        ("through_elu", c_bool),
        ("quick", c_bool),
        ("consecutive", c_bool),
        ("gives_pairs", c_bool),
        ("state", Rows),
        ("out", Rows),
        ("plain", Rows),
    ]


class Differences(Kernel):
    _fields_ = [
        ("input", Rows),
        ("times", c_int64),
        ("width", c_int64),
        ("consecutive", c_bool),
        ("state", Rows),
        ("out", Rows),
    ]


class Embed(Kernel):
    _fields_ = [
        ("codes", POINTER(c_int32)),
        ("width", c_int64),
        ("table", c_void_p),
        ("out", Rows),
    ]


class Norm(Kernel):
    _fields_ = [("input", Rows), ("width", c_int64), ("weight", c_void_p), ("out", Rows)]


class Cell(Kernel):
    _fields_ = [("gates", Rows), ("width", c_int64), ("cell", Rows), ("hidden", Rows), ("out", Rows)]


class Largest(Kernel):
    _fields_ = [("input", Rows), ("width", c_int64), ("codes", POINTER(c_int32))]


class Add(Kernel):
    _fields_ = [("input", Rows), ("width", c_int64), ("out", Rows)]


class Fetch(Kernel):
    _fields_ = [("state", Rows), ("width", c_int64), ("out", Rows)]


class Keep(Kernel):
    _fields_ = [("input", Rows), ("width", c_int64), ("state", Rows)]


class Enter(Kernel):
    _fields_ = [("input", Rows), ("width", c_int64), ("out", Rows)]


class Leave(Kernel):
    _fields_ = [("input", Rows), ("width", c_int64), ("out", Rows)]


class Attention(Kernel):
    _fields_ = [
        ("input", Rows),
        ("heads", c_int64),
        ("kv_heads", c_int64),
        ("width", c_int64),
        ("ring", c_int64),
        ("cosine", c_void_p),
        ("sine", c_void_p),
        ("period", c_int64),
        ("position", c_void_p),
        ("keys", Rows),
        ("values", Rows),
        ("kept", c_int),
        ("turned", Rows),
        ("scores", Rows),
        ("out", Rows),
        ("consecutive", c_bool),
    ]


class Spectrum(Kernel):
    _fields_ = [
        ("input", Rows),
        ("hop", c_int64),
        ("size", c_int64),
        ("window", c_void_p),
        ("cosine", c_void_p),
        ("sine", c_void_p),
        ("tail", Rows),
        ("out", Rows),
    ]


class LogScale(Kernel):
    _fields_ = [("values", Rows), ("width", c_int64), ("floor", c_float)]


class Sample(Kernel):
    _fields_ = [
        ("logits", Rows),
        ("size", c_int64),
        ("seed", c_void_p),
        ("frame", c_void_p),
        ("temperature", c_void_p),
        ("top_k", c_void_p),
        ("top_p", c_void_p),
        ("codes", POINTER(c_int32)),
    ]


class Draw(Kernel):
    _fields_ = [
        ("logits", Rows),
        ("size", c_int64),
        ("seed", c_void_p),
        ("frame", c_void_p),
        ("coarse_temperature", c_void_p),
        ("temperature", c_float),
        ("codebook", c_int64),
        ("codes", POINTER(c_int32)),
    ]


class Quantize(Kernel):
    _fields_ = [("input", Rows), ("times", c_int64), ("out", POINTER(c_int16)), ("finite", POINTER(c_uint8))]


class LowPass(Kernel):
    _fields_ = [
        ("samples", POINTER(c_int16)),
        ("times", c_int64),
        ("taps", c_int64),
        ("filters", c_void_p),
        ("numbers", c_void_p),
        ("history", c_void_p),
    ]


class Advance(Kernel):
    _fields_ = [("frame", c_void_p), ("position", c_void_p)]


KERNELS: list[type[Kernel]] = [
    Linear, ByteProduct, Window, Differences, Embed, Norm, Cell, Largest, Add, Fetch, Keep, Enter, Leave, Attention,
    Spectrum, LogScale, Sample, Draw, Quantize, LowPass, Advance,
]  # fmt: skip
