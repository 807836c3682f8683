"""Plots of study results: values of every model with their intervals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DrawModel = Callable[["Axes", dict[str, Any]], None]


def draw_context(result: dict[str, Any], path: Path) -> None:
    """Draw NLL over frames of context, a line for each model, with its 95 % interval as a band.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """

    def draw(axes: Axes, model: dict[str, Any]) -> None:
        cells = model["by_context"]
        middles = [sum(cell["context"]) / 2 for cell in cells]
        (line,) = axes.plot(middles, [cell["nll"] for cell in cells], marker=".", label=model["model"])
        if all(cell["interval"] for cell in cells):
            low, high = zip(*(cell["interval"] for cell in cells), strict=True)
            axes.fill_between(middles, low, high, color=line.get_color(), alpha=0.15)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")

    _draw(result, path, draw, "frames of context", "NLL of the next coarse code [nats]")


def draw_bands(result: dict[str, Any], path: Path) -> None:
    """Draw the NLL lost without each band at the band's middle frequency, a line for each model.

    Raises: as ``draw_context``.
    """

    from matplotlib.ticker import LogLocator, NullFormatter  # imported here, since only drawing needs it

    def draw(axes: Axes, model: dict[str, Any]) -> None:
        cells = model["lost_without"]
        middles, lost = [sum(cell["hz"]) / 2 for cell in cells], [cell["nll"] for cell in cells]
        axes.errorbar(middles, lost, _around(cells), marker=".", capsize=3, label=model["model"])
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())

    _draw(result, path, draw, "band left out, its middle [Hz]", "NLL lost [nats]")


def _around(cells: list[dict[str, Any]]) -> list[list[float]] | None:
    """Return the distances of the intervals' bounds below and above; None if a cell has no interval."""
    if not all(cell["interval"] for cell in cells):
        return None
    return [
        [cell["nll"] - cell["interval"][0] for cell in cells],
        [cell["interval"][1] - cell["nll"] for cell in cells],
    ]


def _draw(result: dict[str, Any], path: Path, draw: DrawModel, across: str, up: str) -> None:
    from matplotlib.figure import Figure  # imported here, since only drawing needs it

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for model in result["models"]:
        draw(axes, model)
    axes.set(xlabel=across, ylabel=up, title=f"slices of {result['condition']} audio")
    axes.legend()
    figure.savefig(path, dpi=150)
