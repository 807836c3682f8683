"""``whispergpt train``: folders of audio prepared, then a codec, then a model on its codes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from whispergpt.cli.arguments import require_matplotlib, told_in_one_line
from whispergpt.cli.train.measure import app as measure
from whispergpt.cli.train.study import app as study
from whispergpt.engine.checkpoints.checkpoint import find_model, load_codec, load_model
from whispergpt.engine.config import PRESETS, SAMPLE_RATE, FineConfig, MelConfig
from whispergpt.engine.engine import pick_device
from whispergpt.engine.model.codec import Codec
from whispergpt.training.board import require_tensorboard
from whispergpt.training.codec.recipe import CodecRecipe, gpu_recipe
from whispergpt.training.codec.train import train_codec
from whispergpt.training.data.alteration import UNALTERED, Alteration
from whispergpt.training.data.datasets import AudioSet, load_prepared
from whispergpt.training.data.grouping import GroupBy
from whispergpt.training.data.manifest import MANIFEST
from whispergpt.training.data.prepare import Preparation
from whispergpt.training.data.prepare import prepare as prepare_audio
from whispergpt.training.data.tokens import Tokens, tokenize
from whispergpt.training.install import install_model
from whispergpt.training.lm.own_sound import with_own_sound
from whispergpt.training.lm.train_fine import FineRecipe, train_fine
from whispergpt.training.lm.train_lm import OWN_RECIPE, ModelRecipe, train_lm
from whispergpt.training.precision import product_type
from whispergpt.training.study.curves import draw_curves, read_curve

app = typer.Typer(
    add_completion=False,
    help="Prepare audio, train a codec, then a model on its codes. All three go on where they stopped.",
)
app.add_typer(measure, name="measure")
app.add_typer(study, name="study")

Data = Annotated[list[Path], typer.Argument(help="Folders that `whispergpt train prepare` wrote.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder of the run: checkpoint, log and result.")]
Seed = Annotated[int, typer.Option(help="Of the weights and the order of the data.")]
Steps = Annotated[int, typer.Option(help="Optimiser steps in all.")]
Batch = Annotated[int, typer.Option(help="Crops of ten seconds a step.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Transpose = Annotated[
    str | None,
    typer.Option(help="Learn from the recordings played faster and slower too: semitones, such as -1.5,1.5."),
]
LimitBand = Annotated[
    str | None,
    typer.Option(help="Learn from copies without what is above so many Hz too, of recordings that reach higher: 8000."),
]
Shares = Annotated[str | None, typer.Option(help="How much comes from each folder, such as 3,1. Default: their hours.")]
Bfloat16 = Annotated[
    bool | None,
    typer.Option(
        "--bfloat16/--float32",
        help="The type of the large products. Default: bfloat16 where the device multiplies it faster.",
    ),
]


Boards = Annotated[
    Path | None,
    typer.Option(help="Write the log for TensorBoard too, into a folder of the run's name in this one."),
]

LEAST_LIMIT_HZ = 1_000
SHOWN_SKIPPED = 5
"""Skipped files that are told of one by one; the manifest has them all."""


@app.command("prepare")
def prepare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of audio: LibriSpeech's, MAESTRO's or any.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the prepared data, empty or new.")],
    group_by: Annotated[
        GroupBy,
        typer.Option(
            help="What training and held-out must not share: the speaker or work that the layout tells (auto), the "
            "first folder below the root, the single file, or MAESTRO's composer and title."
        ),
    ] = "auto",
    heldout: Annotated[
        int | None,
        typer.Option(help="Groups never trained on, chosen by a hash of their names. Default: 6 in 100, at least one."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Files decoded at a time. Default: one a core, eight at most.")
    ] = None,
) -> None:
    """Turn folders of audio into shards of 24 kHz samples and a manifest, split by speaker or work."""
    with told_in_one_line():
        done = prepare_audio(folders, out, group_by, heldout, workers)
    _tell(out, done)


@app.command("codec")
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
        _check_boards(tensorboard)
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
        recipe = replace(recipe, **told, seed=seed, shares=_shares(shares, len(data)))
        audio, products = _load(data), product_type(where, bfloat16)
        train_codec(audio.train, audio.heldout, out, recipe, device=where, autocast=products, boards=tensorboard)


@app.command("lm")
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
        _check_boards(tensorboard)
        if preset not in PRESETS:
            raise ValueError(f"--preset must be one of {', '.join(PRESETS)}, not {preset!r}")
        copies, told = _altered(transpose, limit_band), _shares(shares, len(data))
        where = pick_device(device)
        trained = load_codec(find_model(codec)).to(where)
        sizes = trained.config
        stage = FineConfig(n_codebooks=sizes.n_codebooks, dimension=sizes.dimension) if fine else None
        config = replace(PRESETS[preset], fine=stage)
        train, held = _tokens(_load(data), trained, config.mel, data[0] / "tokens", copies)
        recipe = ModelRecipe(steps=steps, batch=batch, originals=originals, seed=seed, shares=told)
        products = product_type(where, bfloat16)
        train_lm(train, held, trained, config, out, recipe, licence, where, products, boards=tensorboard)


@app.command("fine")
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
        _check_boards(tensorboard)
        copies, told = _altered(transpose, limit_band), _shares(shares, len(data))
        where = pick_device(device)
        loaded = load_model(str(model), where)
        mel = loaded.step.model.config.mel
        train, held = _tokens(_load(data), loaded.step.codec, mel, data[0] / "tokens", copies)
        recipe = FineRecipe(steps=steps, batch=batch, seed=seed, shares=told)
        train_fine(train, held, loaded, out, recipe, where, product_type(where, bfloat16), tensorboard)


@app.command("own")
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
        _check_boards(tensorboard)
        copies, told = _altered(transpose, limit_band), _shares(shares, len(data))
        where = pick_device(device)
        loaded = load_model(str(model), where)
        stage, config = loaded.step.model.config.fine, loaded.step.model.config
        if stage is None:
            raise ValueError(f"{model} has no fine stage: `train lm` has it learn from all that it can sound like")
        stage = stage if fine_temperature is None else replace(stage, temperature=fine_temperature)
        cache = data[0] / "tokens"
        sources, held = _tokens(_load(data), loaded.step.codec, config.mel, cache, copies)
        *train, held = (with_own_sound(side, loaded, stage.temperature, cache) for side in (*sources, held))
        recipe = replace(OWN_RECIPE, steps=steps, batch=batch, seed=seed, shares=told)
        config, products = replace(config, fine=stage), product_type(where, bfloat16)
        train_lm(
            train, held, loaded.step.codec, config, out, recipe, loaded.licence, where, products, loaded, tensorboard
        )


@app.command("install")
def install(
    run: Annotated[Path, typer.Argument(help="Folder of a model's run.")],
    name: Annotated[str, typer.Option(help="What `--model` will call it.")],
    replacing: Annotated[bool, typer.Option("--replace", help="Instead of the installed one of that name.")] = False,
) -> None:
    """Put what a run made among the installed models; a codec that one of them has is shared with it."""
    with told_in_one_line():
        typer.echo(f"installed {install_model(run, name, replacing)}")


@app.command("curves")
def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of models' runs, or their logs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture; its ending says its format.")],
    title: Annotated[str, typer.Option(help="Above it.")] = "",
) -> None:
    """Draw learning curves from runs' logs, as the paper's figures 2 and 3 have them."""
    with told_in_one_line():
        require_matplotlib("The picture")
        draw_curves([read_curve(run) for run in runs], title, out)


def _tokens(
    audio: AudioSet, codec: Codec, mel: MelConfig, cache: Path, copies: list[Alteration]
) -> tuple[list[Tokens], Tokens]:
    """Return the tokens to learn from, the recordings before their altered copies, and those to check with."""
    train = [tokenize(audio.train, codec, mel, cache, alteration) for alteration in (UNALTERED, *copies)]
    return train, tokenize(audio.heldout, codec, mel, cache)


def _altered(transpose: str | None, limit_band: str | None) -> list[Alteration]:
    """Return the copies that are asked for."""
    return [
        *(Alteration(semitones=shift) for shift in _semitones(transpose)),
        *(Alteration(highest_hz=hertz) for hertz in _limits(limit_band)),
    ]


def _numbers(given: str | None) -> list[float]:
    """Return the numbers between commas; NaN alone, which no option takes, where one is not a number."""
    try:
        return [float(part) for part in given.split(",")] if given else []
    except ValueError:
        return [math.nan]


def _shares(given: str | None, folders: int) -> tuple[float, ...] | None:
    if given is None:
        return None
    shares = tuple(_numbers(given))
    if len(shares) != folders or not all(0 < share < math.inf for share in shares):
        raise ValueError(f"--shares must be {folders} numbers above 0 with commas between, not {given!r}")
    return shares


def _semitones(given: str | None) -> list[float]:
    semitones = _numbers(given)
    if not all(0 < abs(shift) <= 12 for shift in semitones):
        raise ValueError(f"--transpose must be semitones from -12 to 12 with commas between, not {given!r}")
    return semitones


def _limits(given: str | None) -> list[float]:
    limits = _numbers(given)
    if not all(LEAST_LIMIT_HZ <= limit < SAMPLE_RATE / 2 for limit in limits):
        raise ValueError(
            f"--limit-band must be Hz from {LEAST_LIMIT_HZ} to below {SAMPLE_RATE // 2} with commas between, "
            f"not {given!r}"
        )
    return limits


def _check_boards(folder: Path | None) -> None:
    if folder is not None:
        require_tensorboard()


def _load(folders: list[Path]) -> AudioSet:
    data = load_prepared(folders)
    typer.echo(f"{data.train.seconds / 3600:.2f} h to train on, {data.heldout.seconds / 3600:.2f} h held out", err=True)
    return data


def _tell(out: Path, done: Preparation) -> None:
    """Write to stderr what was read and what was skipped."""
    manifest = done.manifest
    held = sum(clip.samples for clip in manifest.clips if clip.split == "heldout") / SAMPLE_RATE
    rule = ", MAESTRO's by its own split" if any(f.grouping == "maestro" for f in manifest.folders) else ""
    if not done.fresh:
        typer.echo(f"{out} is already prepared from these files, which have not changed; nothing to do", err=True)
    typer.echo(
        f"{len(manifest.clips)} files, {manifest.seconds / 3600:.2f} hours, {len(manifest.skipped)} skipped; "
        f"{held / 3600:.2f} hours are held out, groups: {len(manifest.heldout.groups)}{rule}",
        err=True,
    )
    for file in manifest.skipped[:SHOWN_SKIPPED]:
        typer.echo(f"  skipped {file.path}: {file.reason}", err=True)
    if len(manifest.skipped) > SHOWN_SKIPPED:
        typer.echo(f"  … and {len(manifest.skipped) - SHOWN_SKIPPED} more, listed in {out / MANIFEST}", err=True)
