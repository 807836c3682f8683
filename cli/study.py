"""``whispergpt train study``: what context and the spectrogram's bands are worth to models."""

from __future__ import annotations

import json

import typer
from rich.console import Console
from rich.table import Table

from cli.asked import AsJson, AudioDir, Groups, Models, Slices, ask_models, with_interval
from training.band_study import study_bands
from training.context_study import study_context
from training.tables import Bounds, band_rows, context_rows

app = typer.Typer(no_args_is_help=True, help="Ask models what they need: over recordings that were not trained on.")


@app.command("context")
def context(
    audio_dir: AudioDir,
    models: Models,
    condition: Slices = "original",
    group_by: Groups = "auto",
    as_json: AsJson = False,
) -> None:
    """NLL by how many frames a model has seen."""
    result = ask_models(study_context, audio_dir, models, condition, group_by)
    if as_json:
        typer.echo(json.dumps(result))
        return
    _show(context_rows(result["models"], _told))


@app.command("bands")
def bands(
    audio_dir: AudioDir,
    models: Models,
    condition: Slices = "original",
    group_by: Groups = "auto",
    as_json: AsJson = False,
) -> None:
    """How much worse a hybrid predicts where a band of its slices says nothing."""
    result = ask_models(study_bands, audio_dir, models, condition, group_by)
    if as_json:
        typer.echo(json.dumps(result))
        return
    _show(band_rows(result["models"], _told))


def _told(value: float, bounds: Bounds, sign: str) -> str:
    return with_interval(value, bounds, f"{sign}.3f")


def _show(rows: list[list[str]]) -> None:
    table = Table(*rows[0], title_justify="left")
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)
