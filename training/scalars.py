"""Scalars of a run's steps: their means for the log, and curves for TensorBoard (``whispergpt[tensorboard]``)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whispergpt.engine.extras import require_package


class Means:
    """Sums of named scalars since the last reading, which stay on their device, and the seconds since then.

    A scalar that is missing in some steps is averaged over the other steps.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._steps, self._began = 0, time.monotonic()

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the values of one step, without waiting for the device."""
        self._steps += 1
        for name, value in values.items():
            own = value.detach().to(torch.float64)
            self._sums[name] = self._sums[name] + own if name in self._sums else own
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Return the means and the mean ``seconds`` of a step, and start again from zero."""
        means = {name: float(value) / self._counts[name] for name, value in self._sums.items()}
        means["seconds"] = (time.monotonic() - self._began) / self._steps
        self._begin()
        return means


def require_tensorboard() -> None:
    """Check early that TensorBoard is there.

    Raises:
        MissingPackageError: TensorBoard is not installed.
    """
    require_package("tensorboard", "--tensorboard", "tensorboard")


class Board:
    """Scalars of one run, in a folder of their own that the first of them creates."""

    def __init__(self, folder: Path) -> None:
        require_tensorboard()
        self._folder = folder
        self._writer: Any = None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write values of one step. The first call hides values of an interrupted run from that step on."""
        if self._writer is None:
            # Imported here: it takes a second and needs an extra.
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
