"""Several ways to predict the same frames, compared: sums by speaker or work, means and intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from training.bootstrap import interval

Array = npt.NDArray[np.float64]


class Comparison:
    """NLL of ``ways`` ways, in nats over frames."""

    def __init__(self, ways: int) -> None:
        self._ways = ways
        self._sums: dict[str, Array] = {}

    def add(self, group: str, nll: Array, frames: Array) -> None:
        """Add a recording of a group: sums of each way, both ``[ways]``."""
        sums = np.stack([nll, frames])
        self._sums[group] = self._sums.get(group, np.zeros((2, self._ways))) + sums

    def frames(self, way: int) -> int:
        """Frames that were predicted in this way."""
        return int(sum(sums[1, way] for sums in self._sums.values()))

    def mean(self, way: int, above: int | None = None) -> dict[str, Any]:
        """``nll`` and its ``interval``, of one way, or of how far it is above another over the same frames."""
        sums = np.stack([group for group in self._sums.values() if group[1, way]])
        nll, frames = sums[:, 0, way], sums[:, 1, way]
        if above is not None:
            nll = nll - sums[:, 0, above]
        return {"nll": float(nll.sum() / frames.sum()), "interval": interval(nll, frames)}
