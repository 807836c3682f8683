"""Pictures of dashboards, drawn with the same queries to a running Prometheus."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from whispergpt.deploy.grafana.generator.panel import Dashboard, Panel, Unit
from whispergpt.deploy.grafana.generator.prometheus import Prometheus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_POINTS = 120
_LEAST_STEP = 1.0
_SCALE: dict[Unit, tuple[float, str]] = {"short": (1, ""), "percentunit": (100, "%"), "bytes": (2**-20, "MiB")}
"""Factor and unit for showing the values of a unit."""
_SECONDS = 5.0
"""Largest value from which on times are shown in seconds instead of milliseconds."""
_FEW = 4
"""Most series of a plot that are all in the legend; with more, series that stay at zero are left out."""
_INK, _BOUND = "#333333", "#c0392b"


def draw(dashboard: Dashboard, prometheus: Prometheus, folder: Path, minutes: float, interval: str) -> list[str]:
    """Draw the last ``minutes`` into ``<name>.png``, and return the titles of panels without data.

    Raises:
        PrometheusError: Prometheus cannot be queried.
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    rows = math.ceil(len(dashboard.courses) / _COLUMNS)
    figure = Figure(figsize=(13, 1.3 + 2.6 * rows), layout="constrained")
    figure.suptitle(dashboard.title, color=_INK)
    grid = figure.add_gridspec(rows + 1, 1, height_ratios=[0.35] + [1.0] * rows)
    empty = []
    numbers = grid[0].subgridspec(1, len(dashboard.numbers))
    for place, panel in enumerate(dashboard.numbers):
        if not _number(figure.add_subplot(numbers[place]), panel, prometheus, interval):
            empty.append(panel.title)
    end = time.time()
    for row in range(rows):
        columns = grid[row + 1].subgridspec(1, _COLUMNS)
        for place, panel in enumerate(dashboard.courses[row * _COLUMNS : (row + 1) * _COLUMNS]):
            if not _course(figure.add_subplot(columns[place]), panel, prometheus, end, minutes, interval):
                empty.append(panel.title)
    figure.savefig(folder / f"{dashboard.name}.png", dpi=90)
    return empty


def _number(axes: Axes, panel: Panel, prometheus: Prometheus, interval: str) -> bool:
    """Draw a number and return whether there was one."""
    found = [series.values[-1] for query in panel.queries for series in prometheus.now(query.filled(interval))]
    told = [value for value in found if math.isfinite(value)]
    factor, unit = _scale(panel.unit, told)
    text = "none" if not told else f"{factor * told[0]:.4g} {unit}"
    over = panel.bound is not None and bool(told) and told[0] >= panel.bound
    axes.axis("off")
    axes.text(0.5, 0.75, panel.title, ha="center", va="center", fontsize=8, color=_INK)
    axes.text(0.5, 0.2, text, ha="center", va="center", fontsize=15, color=_BOUND if over else _INK)
    return bool(told)


def _course(axes: Axes, panel: Panel, prometheus: Prometheus, end: float, minutes: float, interval: str) -> bool:
    """Draw a plot over time and return whether there was any data."""
    start, step = end - 60 * minutes, max(_LEAST_STEP, 60 * minutes / _POINTS)
    found = [
        (series.named(query.legend), series)
        for query in panel.queries
        for series in prometheus.course(query.filled(interval), start, end, step)
    ]
    told = [value for _, series in found for value in series.values if math.isfinite(value)]
    factor, unit = _scale(panel.unit, told)
    for name, series in found:
        named = len(found) <= _FEW or any(value > 0 for value in series.values)
        minute = [(at - start) / 60 for at in series.times]
        shown = [factor * value for value in series.values]
        axes.plot(minute, shown, label=name if named else "_nolegend_", linewidth=1)
    if panel.bound is not None:
        axes.axhline(factor * panel.bound, linestyle="--", linewidth=1, color=_BOUND)
    axes.set_title(panel.title + (f" [{unit}]" if unit else ""), fontsize=9, color=_INK)
    axes.set_xlim(0, minutes)
    if told:
        axes.set_ylim(bottom=min(0.0, 1.05 * factor * min(told)), top=None if any(told) else 1.0)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=6, loc="best")
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    return bool(told)


def _scale(unit: Unit, values: list[float]) -> tuple[float, str]:
    """Return the factor and the unit for showing values."""
    if unit == "s":
        return (1, "s") if max(values, default=0.0) >= _SECONDS else (1e3, "ms")
    return _SCALE[unit]
