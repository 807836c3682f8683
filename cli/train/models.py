"""``whispergpt train lm|fine|own``: models trained on the codes of a codec."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from whispergpt.cli.arguments import told_in_one_line
from whispergpt.cli.train.data import load_folders, load_tokens
from whispergpt.cli.train.options import (
    Batch,
    Bfloat16,
    Boards,
    Data,
    Device,
    LimitBand,
    Out,
    Seed,
    Shares,
    Steps,
    Transpose,
    alterations,
    check_boards,
    shares_of,
)
from whispergpt.engine.checkpoints.checkpoint import find_model, load_codec, load_model
from whispergpt.engine.config import PRESETS, FineConfig
from whispergpt.engine.device import pick_device
from whispergpt.training.lm.own_sound import with_own_sound
from whispergpt.training.lm.train_fine import FineRecipe, train_fine
from whispergpt.training.lm.train_lm import OWN_RECIPE, ModelRecipe, train_lm
from whispergpt.training.precision import product_type


def lm(
    data: Data,
    out: Out,
    codec: Annotated[str, typer.Option(help="Folder of a trained codec's run, or a model whose codec it shall be.")],
    preset: Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")] = "hybrid",
    fine: Annotated[bool, typer.Option(help="Train a fine stage too, which predicts the finer codes.")] = True,
    originals: Annotated[
        bool,
        typer.Option("--originals", help="Hear recordings alone, as in the paper; else also what codes sound like."),
    ] = False,
    steps: Steps = ModelRecipe.steps,
    batch: Batch = ModelRecipe.batch,
    transpose: Transpose = None,
    limit_band: LimitBand = None,
    shares: Shares = None,
    tensorboard: Boards = None,
    seed: Seed = 0,
    device: Device = "auto",
    bfloat16: Bfloat16 = None,
    licence: Annotated[str, typer.Option(help="Of the trained weights, as /v1/models will show it.")] = "unknown",
) -> None:
    """Train a model on a codec's coarse codes and write a model folder that can be served."""
    with told_in_one_line():
        check_boards(tensorboard)
        if preset not in PRESETS:
            raise ValueError(f"--preset must be one of {', '.join(PRESETS)}, not {preset!r}")
        copies, told = alterations(transpose, limit_band), shares_of(shares, len(data))
        where = pick_device(device)
        trained = load_codec(find_model(codec)).to(where)
        sizes = trained.config
        stage = FineConfig(n_codebooks=sizes.n_codebooks, dimension=sizes.dimension) if fine else None
        config = replace(PRESETS[preset], fine=stage)
        train, held = load_tokens(load_folders(data), trained, config.mel, data[0] / "tokens", copies)
        recipe = ModelRecipe(steps=steps, batch=batch, originals=originals, seed=seed, shares=told)
        products = product_type(where, bfloat16)
        train_lm(train, held, trained, config, out, recipe, licence, where, products, boards=tensorboard)


def fine(
    data: Data,
    out: Out,
    model: Annotated[Path, typer.Option(help="Folder of the model whose fine stage is to be trained anew.")],
    steps: Steps = FineRecipe.steps,
    batch: Batch = FineRecipe.batch,
    transpose: Transpose = None,
    limit_band: LimitBand = None,
    shares: Shares = None,
    tensorboard: Boards = None,
    seed: Seed = 0,
    device: Device = "auto",
    bfloat16: Bfloat16 = None,
) -> None:
    """Train a model's fine stage anew, alone, and write a model folder that can be served."""
    with told_in_one_line():
        check_boards(tensorboard)
        copies, told = alterations(transpose, limit_band), shares_of(shares, len(data))
        where = pick_device(device)
        loaded = load_model(str(model), where)
        mel = loaded.step.model.config.mel
        train, held = load_tokens(load_folders(data), loaded.step.codec, mel, data[0] / "tokens", copies)
        recipe = FineRecipe(steps=steps, batch=batch, seed=seed, shares=told)
        train_fine(train, held, loaded, out, recipe, where, product_type(where, bfloat16), tensorboard)


def own(
    data: Data,
    out: Out,
    model: Annotated[Path, typer.Option(help="Folder of the model that is to hear itself.")],
    fine_temperature: Annotated[
        float | None,
        typer.Option(min=0.0, max=2.0, help="Of its finer codes, here and from now on. Default: what it has."),
    ] = None,
    steps: Steps = OWN_RECIPE.steps,
    batch: Batch = OWN_RECIPE.batch,
    transpose: Transpose = None,
    limit_band: LimitBand = None,
    shares: Shares = None,
    tensorboard: Boards = None,
    seed: Seed = 0,
    device: Device = "auto",
    bfloat16: Bfloat16 = None,
) -> None:
    """Train a model further on recordings as it makes them sound itself, and write a model folder to be served."""
    with told_in_one_line():
        check_boards(tensorboard)
        copies, told = alterations(transpose, limit_band), shares_of(shares, len(data))
        where = pick_device(device)
        loaded = load_model(str(model), where)
        stage, config = loaded.step.model.config.fine, loaded.step.model.config
        if stage is None:
            raise ValueError(f"{model} has no fine stage: `train lm` has it learn from all that it can sound like")
        stage = stage if fine_temperature is None else replace(stage, temperature=fine_temperature)
        cache = data[0] / "tokens"
        sources, held = load_tokens(load_folders(data), loaded.step.codec, config.mel, cache, copies)
        *train, held = (with_own_sound(side, loaded, stage.temperature, cache) for side in (*sources, held))
        recipe = replace(OWN_RECIPE, steps=steps, batch=batch, seed=seed, shares=told)
        config, products = replace(config, fine=stage), product_type(where, bfloat16)
        train_lm(
            train, held, loaded.step.codec, config, out, recipe, loaded.licence, where, products, loaded, tensorboard
        )
