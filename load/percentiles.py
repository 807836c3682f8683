"""Percentiles of latencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Percentiles:
    """Median, 95th and 99th percentile of some values."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Percentiles:
        """Return the percentiles of at least one value."""
        return cls(*(float(value) for value in np.percentile(values, [50, 95, 99])))
