"""``whispergpt train study``: what context and the spectrogram's bands are worth to models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.asked import ask_models, with_interval
from training.band_study import study_bands
from training.context_study import study_context
from training.grouping import GroupBy
from training.hearing import Condition

app = typer.Typer(no_args_is_help=True, help="Ask models what they need: over recordings that were not trained on.")

AudioDir = Annotated[Path, typer.Argument(help="Folder of audio, LibriSpeech's layout or any.")]
Models = Annotated[list[str], typer.Option("--model", help="Name of an installed model or a folder; may be repeated.")]
Slices = Annotated[Condition, typer.Option(help="What the mel slices are of.")]
Groups = Annotated[GroupBy, typer.Option(help="What intervals take as independent, as train prepare does.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]


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
    table = Table("frames of context", *(row["model"] for row in result["models"]), title_justify="left")
    for cells in zip(*(row["by_context"] for row in result["models"]), strict=True):
        first, last = cells[0]["context"]
        table.add_row(f"{first} to {last}", *(with_interval(cell["nll"], cell["interval"], ".3f") for cell in cells))
    Console().print(table)


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
    table = Table("left out", *(row["model"] for row in result["models"]), title_justify="left")
    table.add_row("nothing: NLL", *(with_interval(row["nll"], row["interval"], ".3f") for row in result["models"]))
    for cells in zip(*(row["lost_without"] for row in result["models"]), strict=True):
        low, high = cells[0]["hz"]
        table.add_row(f"{low} to {high} Hz", *(with_interval(cell["nll"], cell["interval"], "+.3f") for cell in cells))
    everything = [row["lost_without_all"] for row in result["models"]]
    table.add_row("everything", *(with_interval(cell["nll"], cell["interval"], "+.3f") for cell in everything))
    Console().print(table)
