"""``whispergpt train codec``: a codec trained on prepared audio."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from whispergpt.cli.arguments import told_in_one_line
from whispergpt.cli.train.data import load_folders
from whispergpt.cli.train.options import Bfloat16, Boards, Data, Device, Out, Seed, Shares, check_boards, shares_of
from whispergpt.engine.device import pick_device
from whispergpt.training.codec.recipe import CodecRecipe, gpu_recipe
from whispergpt.training.codec.train import train_codec
from whispergpt.training.precision import product_type


def codec(
    data: Data,
    out: Out,
    preset: Annotated[
        Literal["cpu", "gpu"] | None,
        typer.Option(
            help="Recipe; numbers that are not given are its own. gpu: recordings and crops live on the device, "
            "large batches, and an adversary at the end. Default: by the device."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps in all.")] = None,
    quantize_from: Annotated[
        int | None, typer.Option(min=0, help="Step at which codebooks come in; 0 keeps those of --start-from.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Crops a step.")] = None,
    shares: Shares = None,
    rate: Annotated[float | None, typer.Option(min=1e-6, help="Peak learning rate.")] = None,
    start_from: Annotated[
        Path | None, typer.Option(help="Folder of a trained codec to start with: to go on, or to learn another sound.")
    ] = None,
    adversarial_from: Annotated[
        int | None,
        typer.Option(
            min=0, help="Step from which the codes are final and the decoder learns against discriminators too."
        ),
    ] = None,
    adversary_filters: Annotated[int | None, typer.Option(min=1, help="Channels of the discriminators.")] = None,
    adversary_batch: Annotated[int | None, typer.Option(min=1, help="Crops a step against them.")] = None,
    decoder_average: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=0.99999, help="Write a moving average of the decoder that learns against them: 0.999, say."
        ),
    ] = None,
    tensorboard: Boards = None,
    seed: Seed = 0,
    device: Device = "auto",
    bfloat16: Bfloat16 = None,
) -> None:
    """Train the small codec and write codec.safetensors."""
    with told_in_one_line():
        check_boards(tensorboard)
        where = pick_device(device)
        start = None if start_from is None else str(start_from)
        gpu = preset == "gpu" or (preset is None and where.type == "cuda")
        recipe = gpu_recipe(steps, start, adversarial_from) if gpu else CodecRecipe(start_from=start)
        given = {
            "steps": steps,
            "quantize_from": quantize_from,
            "batch": batch,
            "peak_rate": rate,
            "adversarial_from": adversarial_from,
            "adversary_filters": adversary_filters,
            "adversary_batch": adversary_batch,
            "decoder_average": decoder_average,
        }
        told: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        recipe = replace(recipe, **told, seed=seed, shares=shares_of(shares, len(data)))
        audio, products = load_folders(data), product_type(where, bfloat16)
        train_codec(audio.train, audio.heldout, out, recipe, device=where, autocast=products, boards=tensorboard)
