"""``whispergpt eval``: how well models predict the next coarse code of real recordings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from cli.arguments import told_in_one_line
from engine.checkpoint import load_model
from engine.engine import pick_device
from training.datasets import find_audio
from training.evaluate import Condition
from training.evaluate import evaluate as evaluate_models


def evaluate(
    audio_dir: Annotated[Path, typer.Argument(help="Folder of audio, LibriSpeech's layout or any.")],
    model: Annotated[list[str], typer.Option(help="Name of an installed model or a folder; may be repeated.")],
    condition: Annotated[Condition, typer.Option(help="What the mel slices are of.")] = "original",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Next-coarse-code NLL in nats, accuracy and perplexity over every file under a folder."""
    with told_in_one_line():
        if not audio_dir.is_dir():
            raise ValueError(f"There is no folder {audio_dir}.")
        models = [load_model(name, pick_device("cpu")) for name in model]
        files = tqdm(find_audio(audio_dir), unit="file", disable=not sys.stderr.isatty())
        result = evaluate_models(audio_dir, models, condition, files)
    if as_json:
        typer.echo(json.dumps(result))
        return
    typer.echo(f"condition {condition}, {len(result['skipped'])} files skipped")
    for row in result["models"]:
        typer.echo(
            f"{row['model']:16}{row['parameters'] / 1e6:6.2f}M  NLL {row['nll']:.4f}  accuracy {row['accuracy']:.4f}  "
            f"perplexity {row['perplexity']:.2f}  ({row['frames']} frames of {row['files']} files)"
        )
