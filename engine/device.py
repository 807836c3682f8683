"""Devices by their names on the command line.

``python -m whispergpt.engine.device`` prints the number of CUDA devices that torch can use, and torch's version.
"""

from __future__ import annotations

import sys

import torch


class DeviceError(ValueError):
    """A device that is not there; the message is written for the user."""


def pick_device(name: str) -> torch.device:
    """Return the device of ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: it is not one of these, or this machine does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if name != "cpu" and (kind != "cuda" or (index and not index.isdigit()) or name.endswith(":")):
        raise DeviceError(f"There is no device {name!r}; say auto, cpu, cuda or cuda:N.")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"This machine has no device {name!r} that torch {torch.__version__} can use.")
    return torch.device(name)


def dtype_name(dtype: torch.dtype) -> str:
    """Return ``float32`` or ``bfloat16``, as in fingerprints and reports."""
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    sys.stdout.write(f"{torch.cuda.device_count()} {torch.__version__}\n")
