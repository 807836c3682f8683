"""Plot of the step time over the number of streams."""

from __future__ import annotations

from pathlib import Path

from whispergpt.benchmarks.report import Report
from whispergpt.engine.config import FRAME_RATE


def plot_curve(report: Report, path: Path) -> None:
    """Plot the step time over the number of streams on logarithmic axes, with a line at real time.

    The file's ending selects its format.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: matplotlib cannot write this format.
    """
    from matplotlib import ticker
    from matplotlib.figure import Figure

    points = report.curve or []
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([p.streams for p in points], [1e3 * p.step_seconds for p in points], marker="o", label="step")
    axes.axhline(1e3 / FRAME_RATE, linestyle="--", color="grey", label="real time")
    axes.axvline(max(1, report.search.streams), linestyle=":", color="grey", label="most real-time streams")
    axes.set(xscale="log", yscale="log", xlabel="streams", ylabel="step [ms]", title=report.fingerprint)
    axes.title.set_fontsize(7)
    axes.set_xticks([p.streams for p in points], [str(p.streams) for p in points])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.legend()
    figure.savefig(path, dpi=150)
