"""Metrics of several front ends, by prometheus-client's multiprocess mode: counters and histograms in mapped files.

A front end that crashes loses no count then. Gauges are those of the process that answers: they are computed from what
the front ends share.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Metric, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from whispergpt.server.observe.exposition import format_for

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of prometheus-client."""


def write_to(folder: Path, name: str) -> None:
    """Have metrics that are made from now on in files of a folder.

    Args:
        name: of the files, which one process writes at a time; one that comes after it counts on.
    """
    os.environ[_FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: name)  # type: ignore[no-untyped-call]


class Reading(Collector):
    """Counters and histograms of all front ends, as the files of a folder are now."""

    def __init__(self, folder: Path) -> None:
        files = [str(file) for kind in ("counter", "histogram") for file in sorted(folder.glob(f"{kind}_*.db"))]
        self._metrics: list[Metric] = list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
        self._texts: dict[str, bytes] = {}

    def collect(self) -> Iterable[Metric]:
        """Return one metric of each name."""
        return self._metrics

    def text(self, accepted: str) -> bytes:
        """Return them as text in the format for ``accepted``."""
        write, content_type = format_for(accepted)
        if content_type not in self._texts:
            self._texts[content_type] = write(self)
        return self._texts[content_type]
