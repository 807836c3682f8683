"""Weights in untrusted safetensors files: a file is compared with the module before any memory is allocated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from whispergpt.engine.model.quantizer import TRAINING_ONLY

MAX_HEADER_BYTES = 4 * 2**20
"""Longest header that is parsed, in bytes; that of the largest model here has 20 kB."""
_DTYPES = ("F16", "BF16", "F32", "F64")
_LENGTH_BYTES = 8

_Module = TypeVar("_Module", bound=nn.Module)


class WeightsFileError(ValueError):
    """A weights file that cannot be read or does not fit; the message is written for the user and names the file."""


def load_module(make: Callable[[], _Module], path: Path) -> _Module:
    """Make a module in float32 on the CPU and load the file's weights into it.

    The module is made on the meta device first, which takes no memory, and compared with the file's header. Memory is
    allocated only for sizes that the file has numbers for.

    Raises:
        WeightsFileError: the file is missing or damaged, does not fit the module, or holds NaN or infinite numbers.
    """
    wanted = weights_of(outline(make))
    _check_container(path)
    try:
        with safe_open(path, framework="pt") as file:
            _check_fit(path, {key: file.get_slice(key) for key in file.keys()}, wanted)  # noqa: SIM118 - not a dict
            module = make()
            with torch.no_grad():
                for key, own in weights_of(module).items():
                    own.copy_(_checked(path, key, file.get_tensor(key).to(own.dtype)))
    except (OSError, SafetensorError) as error:
        raise WeightsFileError(f"{path} cannot be read: {error}.") from None
    return module


def outline(make: Callable[[], _Module]) -> _Module:
    """Make a module on the meta device: names and shapes, without memory for numbers."""
    with torch.device("meta"), _NoFirstNumbers():
        return make()


class _NoFirstNumbers(TorchFunctionMode):
    """A mode in which a module does not draw its first weights.

    On the meta device torch would import its compiler for that, which takes seconds.
    """

    _FILLING = frozenset({"normal_", "uniform_", "zeros_", "zero_", "fill_", "constant_", "kaiming_uniform_"})

    def __torch_function__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        options = options or {}
        if getattr(function, "__name__", "") in self._FILLING:
            return arguments[0] if arguments else options["tensor"]
        if function is torch.randn:
            function = torch.empty
        return function(*arguments, **options)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a module that its file holds, by name."""
    return {key: value for key, value in module.state_dict().items() if not key.endswith(TRAINING_ONLY)}


def first_not_finite(weights: dict[str, Tensor]) -> str | None:
    """Return the name of the first tensor that holds NaN or an infinite number; None if there is none."""
    return next((key for key, value in weights.items() if not value.isfinite().all()), None)


def _check_container(path: Path) -> None:
    """Compare the claimed length of the header with the file's size, before a library allocates that much."""
    try:
        if not path.is_file():
            raise WeightsFileError(f"{path} is missing, or is not a regular file.")
        size = path.stat().st_size
        with path.open("rb") as file:
            claimed = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    except OSError as error:
        raise WeightsFileError(f"{path} cannot be read: {error.strerror}.") from None
    if size < _LENGTH_BYTES or claimed > min(size - _LENGTH_BYTES, MAX_HEADER_BYTES):
        raise WeightsFileError(f"{path} is not a whole safetensors file.")


def _check_fit(path: Path, found: dict[str, object], wanted: dict[str, Tensor]) -> None:
    """Compare names, types and shapes.

    Raises:
        WeightsFileError: they differ; the message names the first tensor that does.
    """
    if odd := sorted(wanted.keys() ^ found.keys()):
        where = "is missing" if odd[0] in wanted else "is not expected"
        raise WeightsFileError(f"{path} does not fit its config.json: {_shown(odd[0])} {where}.")
    for key, expected in wanted.items():
        # safetensors' type of a slice is not public.
        shape, dtype = found[key].get_shape(), found[key].get_dtype()  # type: ignore[attr-defined]
        if tuple(shape) != tuple(expected.shape):
            raise WeightsFileError(
                f"{path} does not fit the sizes in its config.json: {key!r} is {_sizes(shape)} "
                f"and should be {_sizes(expected.shape)}."
            )
        if dtype not in _DTYPES:
            raise WeightsFileError(f"{path} holds {key!r} as {dtype}; weights are {', '.join(_DTYPES)}.")


def _checked(path: Path, key: str, value: Tensor) -> Tensor:
    if first_not_finite({key: value}):
        raise WeightsFileError(f"{path} holds numbers that are NaN or infinite, in {key!r}.")
    return value


def _shown(name: str) -> str:
    """Return a name from the file, short enough for a message."""
    return repr(name if len(name) <= 100 else f"{name[:100]}…")


def _sizes(shape: object) -> str:
    sizes = list(shape)  # type: ignore[call-overload]
    return " × ".join(map(str, sizes)) or "one number"
