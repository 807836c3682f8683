"""``whispergpt train study``: what context and the spectrogram's bands are worth to models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from whispergpt.cli.arguments import require_matplotlib, told_in_one_line
from whispergpt.cli.evaluation import EvaluationOptions, with_interval
from whispergpt.cli.options import expand_options
from whispergpt.training.study.studies import study_bands, study_context
from whispergpt.training.study.study_plots import draw_bands, draw_context
from whispergpt.training.study.tables import Bounds, Rows, WriteCell, band_rows, context_rows

app = typer.Typer(help="Ask models what they need: over recordings that were not trained on.")

Plot = Annotated[Path | None, typer.Option("--plot", help="Draw it into this file too.")]
Result = dict[str, Any]


@app.command("context")
@expand_options
def context(options: EvaluationOptions, plot: Plot = None) -> None:
    """NLL by how many frames a model has seen."""
    _study(options, plot, study_context, draw_context, context_rows)


@app.command("bands")
@expand_options
def bands(options: EvaluationOptions, plot: Plot = None) -> None:
    """How much worse a hybrid predicts where a band of its slices says nothing."""
    _study(options, plot, study_bands, draw_bands, band_rows)


def _study(
    options: EvaluationOptions,
    plot: Path | None,
    study: Callable[..., Result],
    draw: Callable[[Result, Path], None],
    rows_of: Callable[[list[Result], WriteCell], Rows],
) -> None:
    """Check the plot's place before minutes of work, then study, draw and print."""
    with told_in_one_line():
        if plot:
            require_matplotlib("The picture")
        if plot and not plot.parent.is_dir():
            raise ValueError(f"There is no folder {plot.parent}.")
    result = options.evaluate(study)
    if plot:
        draw(result, plot)
    if options.as_json:
        typer.echo(json.dumps(result))
        return
    names, *rows = rows_of(result["models"], _written)
    table = Table(*names, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _written(value: float, bounds: Bounds, sign: str) -> str:
    return with_interval(value, bounds, f"{sign}.3f")
