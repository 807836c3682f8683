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
from whispergpt.cli.asked import AsJson, AudioDir, Groups, Models, Slices, ask_models, with_interval
from whispergpt.training.study.band_study import study_bands
from whispergpt.training.study.context_study import study_context
from whispergpt.training.study.study_plots import draw_bands, draw_context
from whispergpt.training.study.tables import Bounds, Rows, WriteCell, band_rows, context_rows

app = typer.Typer(help="Ask models what they need: over recordings that were not trained on.")


Plot = Annotated[Path | None, typer.Option("--plot", help="Draw it into this file too.")]


@app.command("context")
def context(
    audio_dir: AudioDir,
    models: Models,
    condition: Slices = "original",
    group_by: Groups = "auto",
    as_json: AsJson = False,
    plot: Plot = None,
) -> None:
    """NLL by how many frames a model has seen."""
    _check_plot(plot)
    result = ask_models(study_context, audio_dir, models, condition, group_by)
    if plot:
        draw_context(result, plot)
    _tell(result, as_json, context_rows)


@app.command("bands")
def bands(
    audio_dir: AudioDir,
    models: Models,
    condition: Slices = "original",
    group_by: Groups = "auto",
    as_json: AsJson = False,
    plot: Plot = None,
) -> None:
    """How much worse a hybrid predicts where a band of its slices says nothing."""
    _check_plot(plot)
    result = ask_models(study_bands, audio_dir, models, condition, group_by)
    if plot:
        draw_bands(result, plot)
    _tell(result, as_json, band_rows)


def _check_plot(path: Path | None) -> None:
    """Before minutes of work, not after them."""
    with told_in_one_line():
        if path:
            require_matplotlib("The picture")
        if path and not path.parent.is_dir():
            raise ValueError(f"There is no folder {path.parent}.")


def _tell(result: dict[str, Any], as_json: bool, rows_of: Callable[[list[dict[str, Any]], WriteCell], Rows]) -> None:
    if as_json:
        typer.echo(json.dumps(result))
        return
    rows = rows_of(result["models"], _told)
    table = Table(*rows[0], title_justify="left")
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)


def _told(value: float, bounds: Bounds, sign: str) -> str:
    return with_interval(value, bounds, f"{sign}.3f")
