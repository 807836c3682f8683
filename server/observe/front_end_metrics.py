"""Metrics of several front ends, by prometheus-client's multiprocess mode: counters and histograms in mapped files.

A front end that crashes loses no count then, and any of them answers for all without asking the others. Gauges are
those of the process that answers: they are computed from what the front ends share.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of prometheus-client."""


def write_to(folder: Path, name: str) -> None:
    """Have metrics that are made from now on in files of a folder.

    Args:
        name: of the files, which one process writes at a time; one that comes after it counts on.
    """
    os.environ[_FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: name)  # type: ignore[no-untyped-call]


def together(own: CollectorRegistry) -> CollectorRegistry:
    """Return a registry with the counters and histograms of all front ends, and the other metrics of ``own``."""
    registry = CollectorRegistry()
    registry.register(_Together(own))
    return registry


class _Together(Collector):
    def __init__(self, own: CollectorRegistry) -> None:
        self._own = own
        self._files = MultiProcessCollector(None, os.environ[_FOLDER])  # type: ignore[no-untyped-call]

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that the registry does not collect in order to know the names."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Return one metric of each name."""
        found: Iterable[Metric] = self._files.collect()  # type: ignore[no-untyped-call]
        merged = {metric.name: metric for metric in found if metric.type in ("counter", "histogram")}
        for metric in self._own.collect():
            yield merged.get(metric.name, metric)
