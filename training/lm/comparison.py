"""Comparison of measures over the same frames: sums by speaker or work, means over frames and their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from whispergpt.training.lm.bootstrap import interval

Array = npt.NDArray[np.float64]


class Comparison:
    """Sums of ``ways`` measures by group, such as the NLL of each of several models."""

    def __init__(self, ways: int) -> None:
        self._ways = ways
        self._sums: dict[str, Array] = {}

    @property
    def groups(self) -> int:
        """Return the number of speakers or works added."""
        return len(self._sums)

    def add(self, group: str, measured: Array, frames: Array) -> None:
        """Add a recording of a group: each measure's sum and its number of frames, both ``[ways]``."""
        sums = np.stack([measured, frames])
        self._sums[group] = self._sums.get(group, np.zeros((2, self._ways))) + sums

    def frames(self, way: int) -> int:
        """Return the number of frames of one measure."""
        return int(sum(sums[1, way] for sums in self._sums.values()))

    def mean(self, way: int, above: int | None = None) -> dict[str, Any]:
        """Return ``mean`` and ``interval`` of one measure, or of its difference from measure ``above``."""
        sums = np.stack([group for group in self._sums.values() if group[1, way]])
        measured, frames = sums[:, 0, way], sums[:, 1, way]
        if above is not None:
            measured = measured - sums[:, 0, above]
        return {"mean": float(measured.sum() / frames.sum()), "interval": interval(measured, frames)}

    def nll(self, way: int, above: int | None = None) -> dict[str, Any]:
        """Return the result of ``mean`` for an NLL, as ``nll`` and ``interval``."""
        result = self.mean(way, above)
        return {"nll": result["mean"], "interval": result["interval"]}
