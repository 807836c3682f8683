"""``whispergpt train codec``: a codec trained on prepared audio."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from whispergpt.cli.arguments import told_in_one_line
from whispergpt.cli.options import MODEL_HELP, expand_options
from whispergpt.cli.train.options import RunOptions
from whispergpt.engine.checkpoints.checkpoint import find_model, load_codec, load_model
from whispergpt.training.codec.drawn_crops import DrawnCrops
from whispergpt.training.codec.recipe import CodecRecipe, gpu_recipe
from whispergpt.training.codec.train import train_codec
from whispergpt.training.run import part_of
from whispergpt.training.tokens.tokens import codec_digest, digest_of


@dataclass(frozen=True)
class RecipeOptions:
    """Numbers of a recipe that may be given, by the names of its fields."""

    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps in all.")] = None
    quantize_from: Annotated[
        int | None, typer.Option(min=0, help="Step at which codebooks come in; 0 keeps those of --start-from.")
    ] = None
    batch: Annotated[int | None, typer.Option(min=1, help="Crops a step.")] = None
    coarse_share: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of the crops decoded from the first codebook alone.")
    ] = None
    full_share: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of the crops decoded from all codebooks.")
    ] = None
    coarse_by_mel: Annotated[
        bool | None,
        typer.Option(
            "--coarse-by-mel",
            help="Judge these by their mel spectra alone, so that one code holds more of what is said.",
        ),
    ] = None
    peak_rate: Annotated[float | None, typer.Option("--rate", min=1e-6, help="Peak learning rate.")] = None
    adversarial_from: Annotated[
        int | None,
        typer.Option(
            min=0, help="Step from which the codes are final and the decoder learns against discriminators too."
        ),
    ] = None
    adversary_filters: Annotated[int | None, typer.Option(min=1, help="Channels of the discriminators.")] = None
    adversary_alone: Annotated[
        int | None, typer.Option(min=0, help="First steps against them in which they alone learn.")
    ] = None
    adversary_batch: Annotated[int | None, typer.Option(min=1, help="Crops a step against them.")] = None
    decoder_average: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=0.99999, help="Write a moving average of the decoder that learns against them: 0.999, say."
        ),
    ] = None
    drawn_share: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Share of the crops with codes of --drawn-by; half of them without it."),
    ] = None
    decoder_kept: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of the decoder's weights from before them that is mixed into those written: 0.25, say.",
        ),
    ] = None


@expand_options
def codec(
    options: RunOptions,
    numbers: RecipeOptions,
    preset: Annotated[
        Literal["cpu", "gpu"] | None,
        typer.Option(
            help="Recipe; numbers that are not given are its own. gpu: recordings and crops live on the device, "
            "large batches, and an adversary at the end. Default: by the device."
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            help=f"Folder of a trained codec's run to start with, or a model whose codec it shall be. {MODEL_HELP}."
        ),
    ] = None,
    adversary_of: Annotated[
        Path | None, typer.Option(help="Run whose discriminators to begin with. New ones know nothing for long.")
    ] = None,
    drawn_by: Annotated[
        str | None,
        typer.Option(
            help="Model whose finer codes the decoder is to learn too, as continuations have them: of the codec in "
            f"--start-from, with --quantize-from 0 and --adversarial-from 0. {MODEL_HELP}."
        ),
    ] = None,
) -> None:
    """Train the small codec and write codec.safetensors."""
    with told_in_one_line():
        device, products = options.pick()
        start = None if start_from is None else load_codec(find_model(start_from))
        model = None if drawn_by is None else load_model(drawn_by, device)
        known = None if adversary_of is None else part_of(adversary_of, "adversary")
        gpu = preset == "gpu" or (preset is None and device.type == "cuda")
        recipe = _recipe(
            numbers,
            gpu,
            None if start is None else codec_digest(start),
            adversary_of=None if known is None else digest_of(known)[:8],
            drawn_by=None if model is None else model.digest,
            seed=options.seed,
            shares=options.folder_shares,
        )
        audio = options.load_audio()
        drawn = None
        if model is not None:
            assert start is not None  # a recipe of drawn codes has one
            drawn = DrawnCrops(audio.train, model, start, options.cache, recipe)
        train_codec(
            audio.train,
            audio.heldout,
            options.out,
            recipe,
            device=device,
            autocast=products,
            boards=options.tensorboard,
            start=start,
            drawn=drawn,
            adversary=known,
        )


def _recipe(numbers: RecipeOptions, gpu: bool, start: str | None, **others: Any) -> CodecRecipe:
    """Return the preset's recipe with the numbers that are given, from the codec of the digest ``start``."""
    base = gpu_recipe(numbers.steps, start, numbers.adversarial_from) if gpu else CodecRecipe(start_from=start)
    return replace(base, **{name: value for name, value in vars(numbers).items() if value is not None}, **others)
