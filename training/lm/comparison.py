"""Several measures of the same frames, compared: sums by speaker or work, means over frames and their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from whispergpt.training.lm.bootstrap import interval

Array = npt.NDArray[np.float64]


class Comparison:
    """Sums of ``ways`` measures, such as the NLL of so many models."""

    def __init__(self, ways: int) -> None:
        self._ways = ways
        self._sums: dict[str, Array] = {}

    @property
    def groups(self) -> int:
        """Speakers or works that were added."""
        return len(self._sums)

    def add(self, group: str, measured: Array, frames: Array) -> None:
        """Add a recording of a group: sums of each measure, and over how many frames, both ``[ways]``."""
        sums = np.stack([measured, frames])
        self._sums[group] = self._sums.get(group, np.zeros((2, self._ways))) + sums

    def frames(self, way: int) -> int:
        """Frames that one measure is over."""
        return int(sum(sums[1, way] for sums in self._sums.values()))

    def mean(self, way: int, above: int | None = None) -> dict[str, Any]:
        """``mean`` and its ``interval``, of one measure, or of how far it is above another over the same frames."""
        sums = np.stack([group for group in self._sums.values() if group[1, way]])
        measured, frames = sums[:, 0, way], sums[:, 1, way]
        if above is not None:
            measured = measured - sums[:, 0, above]
        return {"mean": float(measured.sum() / frames.sum()), "interval": interval(measured, frames)}

    def nll(self, way: int, above: int | None = None) -> dict[str, Any]:
        """The same of an NLL, called ``nll``."""
        told = self.mean(way, above)
        return {"nll": told["mean"], "interval": told["interval"]}
