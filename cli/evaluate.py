"""``whispergpt eval``: how well models predict the next coarse code of real recordings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from cli.arguments import told_in_one_line
from engine.checkpoint import load_model
from engine.engine import pick_device
from training.datasets import find_audio
from training.evaluate import evaluate as evaluate_models
from training.grouping import GroupBy
from training.hearing import Condition


def evaluate(
    audio_dir: Annotated[Path, typer.Argument(help="Folder of audio, LibriSpeech's layout or any.")],
    model: Annotated[list[str], typer.Option(help="Name of an installed model or a folder; may be repeated.")],
    condition: Annotated[Condition, typer.Option(help="What the mel slices are of.")] = "original",
    group_by: Annotated[
        GroupBy, typer.Option(help="What intervals take as independent: speakers or works, as train prepare does.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Next-coarse-code NLL in nats, accuracy and perplexity over every file under a folder: the paper's table 1."""
    with told_in_one_line():
        if not audio_dir.is_dir():
            raise ValueError(f"There is no folder {audio_dir}.")
        models = [load_model(name, pick_device("cpu")) for name in model]
        files = tqdm(find_audio(audio_dir), unit="file", disable=not sys.stderr.isatty())
        result = evaluate_models(audio_dir, models, condition, group_by, files)
    if as_json:
        typer.echo(json.dumps(result))
        return
    Console().print(_table(result))


def _table(result: dict[str, Any]) -> Table:
    first = result["models"][0]
    title = f"slices of {result['condition']} audio: {first['frames']} frames of {first['files']} files"
    skipped = f", {len(result['skipped'])} files skipped" if result["skipped"] else ""
    table = Table(title=title + skipped, title_justify="left")
    table.caption = f"95 % intervals over {first['groups']} groups ({result['grouping']})"
    for column in ("model", "parameters", "NLL", "accuracy", "perplexity", f"NLL above {first['model']}"):
        table.add_column(column, justify="left" if column == "model" else "right", overflow="fold")
    for row in result["models"]:
        above = row.get("nll_above_first")
        table.add_row(
            row["model"],
            f"{row['parameters'] / 1e6:.2f}M",
            f"{row['nll']:.4f}{_within(row['nll_interval'], '.3f')}",
            f"{100 * row['accuracy']:.2f} %",
            f"{row['perplexity']:.2f}",
            "" if above is None else f"{above:+.4f}{_within(row['nll_above_first_interval'], '+.3f')}",
        )
    return table


def _within(bounds: tuple[float, float] | None, form: str) -> str:
    return "" if bounds is None else f" ({bounds[0]:{form}} … {bounds[1]:{form}})"
