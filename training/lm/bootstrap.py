"""Confidence intervals by resampling independent groups: speakers or works, never frames.

The percentile bootstrap (Efron and Tibshirani 1993, chapter 13) of a ratio of sums.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RESAMPLES = 4_000
CONFIDENCE = 0.95
FEWEST_GROUPS = 5
"""Fewest groups that give a reliable interval."""

Sums = npt.NDArray[np.float64]


def interval(sums: Sums, frames: Sums, seed: int = 0) -> tuple[float, float] | None:
    """Return the 95 % interval of ``sums.sum() / frames.sum()``, both ``[groups]``; None for too few groups.

    A seed always resamples the same groups. To compare two models on the same groups, give the difference of their
    ``sums``.
    """
    groups = len(sums)
    if groups < FEWEST_GROUPS:
        return None
    drawn = np.random.default_rng(seed).integers(groups, size=(RESAMPLES, groups))
    means = sums[drawn].sum(axis=1) / frames[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
