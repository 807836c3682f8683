"""Plot of long streams' measures over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from whispergpt.training.measures.drift import FIRST_WINDOWS, MEASURES
from whispergpt.training.measures.figures.packages import need

PLOT = "drift.png"
LABELS = {"level": "level (dBFS)", "spectrum": "log-mel distance\nto the first minute", "silence": "share of silence"}


def draw_drift(result: dict[str, Any], title: str, path: Path) -> None:
    """Draw the result of ``measure_drift``: each stream, the mean, and its fitted line with the verdict.

    Raises:
        MissingError: matplotlib is not installed.
    """
    figure = need("matplotlib.figure", "The plot").Figure(figsize=(9, 8), layout="constrained")
    rows = figure.subplots(len(MEASURES), 1, sharex=True)
    step = result["window_seconds"] / 60
    for axis, measure in zip(rows, MEASURES, strict=True):
        for entry in result["files"]:
            values = entry["windows"][measure.name]
            axis.plot((np.arange(len(values)) + 0.5) * step, values, color="0.75", linewidth=0.8)
        values = np.array(result["means"]["windows"][measure.name])
        minutes = (np.arange(len(values)) + 0.5) * step
        axis.plot(minutes, values, color="C0", linewidth=1.8, label=f"mean of {len(result['files'])} streams")
        slope = result["means"]["slopes"][measure.name]
        fitted = minutes[measure.first :]
        line = values[measure.first :].mean() + slope["per_minute"] * (fitted - fitted.mean())
        label = f"{slope['per_minute']:+.3g} ± {slope['error']:.2g} {measure.unit} a minute: {slope['verdict']}"
        axis.plot(fitted, line, color="C3", linestyle="--", label=label)
        if measure.first == FIRST_WINDOWS:
            axis.axvspan(0, FIRST_WINDOWS * step, color="0.94")
        axis.set_ylabel(LABELS[measure.name])
        axis.legend(loc="best", fontsize="small")
    rows[0].set_title(title)
    rows[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=120)
