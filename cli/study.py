"""``whispergpt train study``: what context and the spectrogram's bands are worth to models."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from cli.arguments import told_in_one_line
from engine.checkpoint import load_model
from engine.engine import pick_device
from training.band_study import study_bands
from training.context_study import study_context
from training.datasets import find_audio
from training.grouping import GroupBy
from training.hearing import Condition

app = typer.Typer(no_args_is_help=True, help="Ask models what they need: over recordings that were not trained on.")

AudioDir = Annotated[Path, typer.Argument(help="Folder of audio, LibriSpeech's layout or any.")]
Models = Annotated[list[str], typer.Option("--model", help="Name of an installed model or a folder; may be repeated.")]
Slices = Annotated[Condition, typer.Option(help="What the mel slices are of.")]
Groups = Annotated[GroupBy, typer.Option(help="What intervals take as independent, as train prepare does.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]

_Study: TypeAlias = Callable[..., dict[str, Any]]


@app.command("context")
def context(
    audio_dir: AudioDir,
    models: Models,
    condition: Slices = "original",
    group_by: Groups = "auto",
    as_json: AsJson = False,
) -> None:
    """NLL by how many frames a model has seen."""
    result = _asked(study_context, audio_dir, models, condition, group_by)
    if as_json:
        typer.echo(json.dumps(result))
        return
    table = Table("frames of context", *(row["model"] for row in result["models"]), title_justify="left")
    for cells in zip(*(row["by_context"] for row in result["models"]), strict=True):
        first, last = cells[0]["context"]
        table.add_row(f"{first} to {last}", *(_value(cell, ".3f") for cell in cells))
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
    result = _asked(study_bands, audio_dir, models, condition, group_by)
    if as_json:
        typer.echo(json.dumps(result))
        return
    table = Table("left out", *(row["model"] for row in result["models"]), title_justify="left")
    table.add_row("nothing: NLL", *(_value(row, ".3f") for row in result["models"]))
    for cells in zip(*(row["lost_without"] for row in result["models"]), strict=True):
        low, high = cells[0]["hz"]
        table.add_row(f"{low} to {high} Hz", *(_value(cell, "+.3f") for cell in cells))
    table.add_row("everything", *(_value(row["lost_without_all"], "+.3f") for row in result["models"]))
    Console().print(table)


def _asked(study: _Study, folder: Path, names: list[str], condition: Condition, group_by: GroupBy) -> dict[str, Any]:
    with told_in_one_line():
        if not folder.is_dir():
            raise ValueError(f"There is no folder {folder}.")
        models = [load_model(name, pick_device("cpu")) for name in names]
        files = tqdm(find_audio(folder), unit="file", disable=not sys.stderr.isatty())
        return study(folder, models, condition, group_by, files)


def _value(cell: dict[str, Any], form: str) -> str:
    bounds = cell["interval"]
    return f"{cell['nll']:{form}}" + ("" if bounds is None else f" ({bounds[0]:{form}} … {bounds[1]:{form}})")
