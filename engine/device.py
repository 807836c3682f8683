"""Devices by their names on the command line.

As a process of ``engine.child``, the module prints the number of CUDA devices that torch can use, and torch's version.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import torch

_LOST = re.compile(r"CUDA error:|Triton Error \[CUDA\]:|CUDNN_STATUS_|CUBLAS_STATUS_EXECUTION_FAILED")
"""Openings of what torch and Triton say of an error on the device."""
_STEPS_PRIORITY, _PROMPTS_PRIORITY = -1, 0
"""Priorities of CUDA streams: the lower number goes first."""


class DeviceError(ValueError):
    """A device that is not there; the message is written for the user."""


def pick_device(name: str) -> torch.device:
    """Return the device of ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; a CUDA device has its number, 0 for ``cuda``.

    ``torch.cuda.set_device`` takes no device without one.

    Raises:
        DeviceError: it is not one of these, this machine does not have it, or its driver is too old.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if name != "cpu" and (kind != "cuda" or (index and not index.isdigit()) or name.endswith(":")):
        raise DeviceError(f"There is no device {name!r}; say auto, cpu, cuda or cuda:N.")
    if kind != "cuda":
        return torch.device(name)
    if int(index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"This machine has no device {name!r} that torch {torch.__version__} can use.")
    _start_cuda(name)
    return torch.device(kind, int(index or 0))


def _start_cuda(name: str) -> None:
    """Start CUDA: torch counts devices without it, so that a driver may be too old for those that it has counted."""
    try:
        torch.cuda.init()
    except RuntimeError as error:
        if "driver" in str(error) and "too old" in str(error):
            raise DeviceError(
                f"The NVIDIA driver is too old for torch {torch.__version__}, which needs one for CUDA "
                f"{torch.version.cuda}; update the driver, or use --device cpu."
            ) from None
        raise DeviceError(f"torch {torch.__version__} cannot use {name!r}: {_first_line(error)}") from None


def for_steps(device: torch.device) -> AbstractContextManager[None]:
    """Return a context for a frame step's work, which a GPU starts before all work of prompts that waits.

    Graphs captured in the context keep that priority. What the caller has queued for the GPU is done first.
    """
    return _on_stream(device, _STEPS_PRIORITY)


def for_prompts(device: torch.device) -> AbstractContextManager[None]:
    """Return a context for prompts' work, which a GPU does in the order of its calls and beside the steps.

    What the caller has queued for the GPU is done first. Results are complete once the host has waited for a later
    one, as ``Tensor.cpu`` does in this context; only then may a step read them.
    """
    return _on_stream(device, _PROMPTS_PRIORITY)


@contextmanager
def _on_stream(device: torch.device, priority: int) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    index = torch.cuda.current_device() if device.index is None else device.index
    stream, before = _stream(index, priority), torch.cuda.current_stream(index)
    if before != stream:
        stream.wait_stream(before)
    with torch.cuda.stream(stream):  # which makes its device the current one, too
        yield


@cache
def _stream(index: int, priority: int) -> torch.cuda.Stream:
    """Return the CUDA stream of a device that all engines of this process use."""
    return torch.cuda.Stream(index, priority=priority)


def loss_of_device(error: BaseException) -> str | None:
    """Return a sentence if an error, or its cause, says that the device fails from now on; None if it does not.

    After such an error every call of CUDA in the process fails. Too little memory is none.
    """
    cause: BaseException | None = error
    while cause is not None:
        told = str(cause)
        if isinstance(cause, RuntimeError) and _LOST.search(told) and "out of memory" not in told:
            return f"The device is lost to this process ({_first_line(cause)}); the engine has to be started again."
        cause = cause.__cause__
    return None


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def dtype_name(dtype: torch.dtype) -> str:
    """Return ``float32``, ``bfloat16`` or ``int8``, as in fingerprints and reports."""
    return str(dtype).removeprefix("torch.")


def main() -> int:
    """Print the number of CUDA devices and torch's version; returns the exit status."""
    sys.stdout.write(f"{torch.cuda.device_count()} {torch.__version__}\n")
    return 0
