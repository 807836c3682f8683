"""``whispergpt train``: a codec, then a model on its codes, from folders of audio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.arguments import told_in_one_line
from engine.checkpoint import load_trained_codec
from engine.config import PRESETS
from training.datasets import AudioSet, load_audio
from training.tokens import tokenize
from training.train_codec import CodecRecipe, train_codec
from training.train_lm import ModelRecipe, train_lm

app = typer.Typer(
    add_completion=False, help="Train a codec, then a model on its codes. Both resume where they stopped."
)

Folders = Annotated[list[Path], typer.Argument(help="Folders of audio: one folder a speaker below each, or any.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder of the run: checkpoint, log and result.")]
Cache = Annotated[Path, typer.Option(help="Where decoded audio and codes are kept between runs.")]
Heldout = Annotated[int, typer.Option(help="Speakers never trained on, chosen by a hash of their names.")]
Seed = Annotated[int, typer.Option(help="Of the weights and the order of the data.")]


@app.command("codec")
def codec(
    folders: Folders,
    out: Out,
    cache: Cache = Path("runs/cache"),
    heldout: Heldout = 16,
    steps: Annotated[int, typer.Option(help="Optimiser steps in all.")] = CodecRecipe.steps,
    quantize_from: Annotated[int, typer.Option(help="Step at which codebooks come in.")] = CodecRecipe.quantize_from,
    batch: Annotated[int, typer.Option(help="Crops a step.")] = CodecRecipe.batch,
    seed: Seed = 0,
) -> None:
    """Train the small codec and write codec.safetensors."""
    with told_in_one_line():
        train, held = _split(folders, cache, heldout)
        train_codec(train, held, out, CodecRecipe(steps=steps, quantize_from=quantize_from, batch=batch, seed=seed))


@app.command("lm")
def lm(
    folders: Folders,
    out: Out,
    codec: Annotated[Path, typer.Option(help="Folder of a trained codec's run.")],
    preset: Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")] = "hybrid",
    cache: Cache = Path("runs/cache"),
    heldout: Heldout = 16,
    steps: Annotated[int, typer.Option(help="Optimiser steps in all.")] = ModelRecipe.steps,
    batch: Annotated[int, typer.Option(help="Crops of ten seconds a step.")] = ModelRecipe.batch,
    seed: Seed = 0,
    licence: Annotated[str, typer.Option(help="Of the trained weights, as /v1/models will show it.")] = "unknown",
) -> None:
    """Train a model on a codec's coarse codes and write a model folder that can be served."""
    with told_in_one_line():
        if preset not in PRESETS:
            raise ValueError(f"--preset must be one of {', '.join(PRESETS)}, not {preset!r}")
        config = PRESETS[preset]
        trained = load_trained_codec(codec)
        train, held = (tokenize(part, trained, config.mel, cache) for part in _split(folders, cache, heldout))
        train_lm(train, held, trained, config, out, ModelRecipe(steps=steps, batch=batch, seed=seed), licence)


def _split(folders: list[Path], cache: Path, heldout: int) -> tuple[AudioSet, AudioSet]:
    data = load_audio(folders, cache)
    train, held = data.split(heldout)
    if not train.clips or not held.clips:
        raise ValueError(f"the folders have too few speakers to hold out {heldout}")
    typer.echo(f"{train.seconds / 3600:.2f} h to train on, {held.seconds / 3600:.2f} h held out", err=True)
    return train, held
