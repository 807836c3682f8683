"""``whispergpt train lm|fine|own``: models trained on the codes of a codec."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
import typer

from whispergpt.cli.arguments import check_finite, told_in_one_line
from whispergpt.cli.options import MODEL_HELP, expand_options
from whispergpt.cli.train.options import (
    Batch,
    FineTemperature,
    GuideWeight,
    ModelOptions,
    PitchAhead,
    SliceOptions,
    Steps,
)
from whispergpt.engine.checkpoints.checkpoint import LoadedModel, find_model, load_codec, load_model
from whispergpt.engine.config import PRESETS, FineConfig, FineKind, ModelConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.rotary import PERIOD
from whispergpt.training.lm.other_codes import config_on, on_codec
from whispergpt.training.lm.own_sound import with_own_sound
from whispergpt.training.lm.train_fine import NEAREST_RECIPE, NEAREST_WIDTH, FineRecipe, train_fine
from whispergpt.training.lm.train_lm import OWN_RECIPE, ModelRecipe, train_lm
from whispergpt.training.tokens.code_pairs import code_pairs
from whispergpt.training.tokens.tokens import VERSIONS

DEFAULT_PRESET = "hybrid"


@expand_options
def lm(
    options: ModelOptions,
    slices: SliceOptions,
    codec: Annotated[
        str | None,
        typer.Option(
            help="Folder of a trained codec's run, or a model whose codec it shall be. With --start-from, that model "
            "goes on with this codec: each coarse code begins as those that the same frames had before."
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(help=f"A model to go on with, on its own codec unless --codec is given. {MODEL_HELP}."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help=f"One of {', '.join(PRESETS)}. Default: {DEFAULT_PRESET}.")] = None,
    fine: Annotated[bool, typer.Option(help="Train a fine stage too, which predicts the finer codes.")] = True,
    originals: Annotated[
        bool,
        typer.Option("--originals", help="Hear recordings alone, as in the paper; else also what codes sound like."),
    ] = False,
    pitch_ahead: PitchAhead = ModelRecipe.pitch_ahead,
    steps: Steps = ModelRecipe.steps,
    batch: Batch = ModelRecipe.batch,
    licence: Annotated[
        str | None,
        typer.Option(help="Of the trained weights, as /v1/models will show it. Default: that of --start-from."),
    ] = None,
) -> None:
    """Train a model on a codec's coarse codes and write a model folder that can be served."""
    with told_in_one_line():
        check_finite(pitch_ahead=pitch_ahead)
        _check_begun(codec, start_from, preset, fine)
        device, products = options.pick()
        start = None if start_from is None else load_model(start_from, device)
        other = None if codec is None else load_codec(find_model(codec)).to(device)
        config = _sizes(start, other, preset, fine)
        config = replace(config, mel=slices.of(config))
        heard, trained = (start.step.codec, start.step.plain_codec) if start and not other else (other, other)
        assert heard is not None and trained is not None  # one of both is given
        audio, versions = options.load_audio(), ("original",) if originals else VERSIONS
        train, held = options.load_tokens(heard, config.mel, versions, pitch_ahead > 0, audio)
        if start is not None and other is not None:
            pairs = code_pairs(audio.train, other, start.step.plain_codec, options.cache)
            torch.manual_seed(options.seed)  # a new fine stage is random
            start = on_codec(start, other, pairs, train)
        recipe = replace(
            OWN_RECIPE if start else ModelRecipe(),
            steps=steps,
            batch=batch,
            originals=originals,
            seed=options.seed,
            shares=options.folder_shares,
            pitch_ahead=pitch_ahead,
        ).for_window(config)
        licence = licence or (start.licence if start else "unknown")
        boards = options.tensorboard
        train_lm(train, held, trained, config, options.out, recipe, licence, device, products, start, boards)


def _check_begun(codec: str | None, start_from: str | None, preset: str | None, fine: bool) -> None:
    """Check that a model can begin with these options.

    Raises:
        ValueError: it cannot; the message says which to give or to leave out.
    """
    if preset not in (None, *PRESETS):
        raise ValueError(f"--preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    if codec is None and start_from is None:
        raise ValueError("give --codec for a new model, or --start-from for one to go on with")
    if start_from is not None and (preset is not None or not fine):
        raise ValueError("a model to go on with has its sizes and its fine stage: leave out --preset and --no-fine")


def _sizes(start: LoadedModel | None, codec: Codec | None, preset: str | None, fine: bool) -> ModelConfig:
    """Return the configuration of a model to go on with, or of a new one, for the codes of ``codec`` if it is given.

    Raises:
        ValueError: the model to go on with has these codes already.
    """
    if start is not None:
        return start.step.model.config if codec is None else config_on(start, codec)
    assert codec is not None
    stage = FineConfig(n_codebooks=codec.config.n_codebooks, dimension=codec.config.dimension) if fine else None
    return replace(PRESETS[preset or DEFAULT_PRESET], fine=stage)


@expand_options
def fine(
    options: ModelOptions,
    model: Annotated[str, typer.Option(help=f"Model whose fine stage is to be trained anew. {MODEL_HELP}.")],
    kind: Annotated[
        FineKind | None,
        typer.Option(
            help="drawn: the finer codes are drawn. nearest: they are those nearest to the latent that the model "
            "expects; for a decoder that learns them (train codec --drawn-by). Default: the model's own kind."
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=4096,
            help="Width, a multiple of 16. Default: the model's; of another kind 256 (drawn) or 512 (nearest).",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps; by default by the kind.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Crops a step; by default by the kind.")] = None,
) -> None:
    """Train a model's fine stage anew, alone, and write a model folder that can be served."""
    with told_in_one_line():
        device, products = options.pick()
        loaded = load_model(model, device)
        stage = loaded.step.model.config.fine
        if stage is None:
            raise ValueError(f"{model} has no fine stage to train")
        if width is not None and width % 16:
            raise ValueError(f"--width must be a multiple of 16, not {width}: the kernels take no other")
        if kind is not None and kind != stage.kind:
            stage = replace(stage, kind=kind, width=NEAREST_WIDTH if kind == "nearest" else FineConfig.width)
        stage = replace(stage, width=width or stage.width)
        base = NEAREST_RECIPE if stage.kind == "nearest" else FineRecipe()
        recipe = replace(
            base, steps=steps or base.steps, batch=batch or base.batch, seed=options.seed, shares=options.folder_shares
        )
        train, held = options.load_tokens(loaded.step.codec, loaded.step.model.config.mel)
        train_fine(train, held, loaded, stage, options.out, recipe, device, products, options.tensorboard)


@expand_options
def own(
    options: ModelOptions,
    model: Annotated[str, typer.Option(help=f"Model that is to hear itself. {MODEL_HELP}.")],
    fine_temperature: FineTemperature = None,
    stall_share: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of the crops in which a few frames are repeated, so that the model learns to leave a hum.",
        ),
    ] = OWN_RECIPE.stall_share,
    rate: Annotated[
        float,
        typer.Option(min=1e-6, help="Peak learning rate; a fifth for one that has learnt for long."),
    ] = OWN_RECIPE.peak_rate,
    window: Annotated[
        int | None,
        typer.Option(min=1, max=PERIOD, help="Frames that it is to attend to, 75 a second. Default: as before."),
    ] = None,
    pitch_ahead: PitchAhead = OWN_RECIPE.pitch_ahead,
    guide: GuideWeight = OWN_RECIPE.guide,
    steps: Steps = OWN_RECIPE.steps,
    batch: Batch = OWN_RECIPE.batch,
) -> None:
    """Train a model further on recordings as it makes them sound itself, and write a model folder to be served."""
    with told_in_one_line():
        check_finite(rate=rate, pitch_ahead=pitch_ahead, guide=guide)
        device, products = options.pick()
        loaded = load_model(model, device)
        config = loaded.step.model.config
        stage = config.fine
        if stage is None:
            raise ValueError(f"{model} has no fine stage: `train lm` has it learn from all that it can sound like")
        if fine_temperature is not None:
            stage = stage.with_temperature(fine_temperature)
        config = replace(config, fine=stage)
        if window is not None:
            config = replace(config, stack=replace(config.stack, window=window))
        sources, held = options.load_tokens(loaded.step.codec, config.mel, ahead=pitch_ahead > 0)
        train, held = (
            [with_own_sound(one, loaded, stage.temperature, options.caches[one.folder]) for one in side]
            for side in (sources, held)
        )
        recipe = replace(
            OWN_RECIPE,
            steps=steps,
            batch=batch,
            seed=options.seed,
            shares=options.folder_shares,
            stall_share=stall_share,
            pitch_ahead=pitch_ahead,
            guide=guide,
            peak_rate=rate,
        ).for_window(config)
        licence, boards, codec = loaded.licence, options.tensorboard, loaded.step.plain_codec
        train_lm(train, held, codec, config, options.out, recipe, licence, device, products, loaded, boards)
