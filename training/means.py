"""Means of the training steps' values, which stay on their device until they are read."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor


class Means:
    """Sums of named scalars since the last reading, and the seconds since then.

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
