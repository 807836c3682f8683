"""``whispergpt train prefer``: a model learns which of its own continuations are better."""

from __future__ import annotations

from typing import Annotated

import torch
import typer

from whispergpt.cli.arguments import check_finite, told_in_one_line
from whispergpt.cli.options import MODEL_HELP, expand_options
from whispergpt.cli.train.options import RunOptions, Steps
from whispergpt.engine.checkpoints.checkpoint import load_model
from whispergpt.engine.engine import Engine
from whispergpt.training.preference.draws import DrawRecipe, draw_examples, true_examples
from whispergpt.training.preference.judges import Kind, judge_of
from whispergpt.training.preference.train_preference import PreferenceRecipe, train_preference

SLOTS = 32
"""Streams drawn at a time."""


@expand_options
def prefer(
    options: RunOptions,
    model: Annotated[str, typer.Option(help=f"Model that is to learn. {MODEL_HELP}.")],
    judge: Annotated[
        Kind,
        typer.Option(
            help="speech: DNSMOS, likeness to the prompt's voice, pauses and drones. piano: pitch classes and onsets."
        ),
    ],
    prompts: Annotated[int, typer.Option(min=1, help="At most so many, each of another recording.")] = (
        DrawRecipe.prompts
    ),
    draws: Annotated[int, typer.Option(min=2, max=SLOTS, help="Continuations drawn for each prompt.")] = (
        DrawRecipe.draws
    ),
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Of each continuation.")] = DrawRecipe.seconds,
    sharpness: Annotated[
        float, typer.Option(min=1e-4, help="DPO's beta: how soon a difference is enough.")
    ] = PreferenceRecipe.sharpness,
    recordings: Annotated[
        float, typer.Option(min=0, help="Weight of the true continuations, which the model is not to forget.")
    ] = PreferenceRecipe.recordings,
    rate: Annotated[float, typer.Option(min=1e-6, help="Peak learning rate.")] = PreferenceRecipe.peak_rate,
    steps: Steps = PreferenceRecipe.steps,
) -> None:
    """Draw continuations of the recordings, judge them, and train a model to make the better ones likelier."""
    with told_in_one_line():
        if options.shares is not None:
            raise ValueError("prompts are drawn from all folders alike: leave out --shares")
        check_finite(seconds=seconds, sharpness=sharpness, recordings=recordings, rate=rate)
        device, products = options.pick()
        start, threads = load_model(model, device), torch.get_num_threads()
        if not start.defaults.temperature:
            raise ValueError(
                f"{model} draws by a temperature of 0, always the same, so that there is nothing to prefer"
            )
        wanted = DrawRecipe(prompts, draws, min(DrawRecipe.pairs, draws // 2), seconds=seconds, seed=options.seed)
        recipe = PreferenceRecipe(
            steps=steps, peak_rate=rate, sharpness=sharpness, recordings=recordings, seed=options.seed
        )
        audio = options.load_audio()
        listening = judge_of(judge, audio.train)
        try:
            # In float32, so that all processors draw the same; without a limit, since the model hears none.
            engine = Engine.load(model, options.device, SLOTS, dtype="float32", keep_bandwidth=False)
            heldout = true_examples(audio.heldout, engine, wanted)
            examples = draw_examples(audio.train, engine, listening, wanted, options.cache)
            del engine
        finally:
            torch.set_num_threads(threads)  # an engine leaves torch one
        typer.echo(f"the judge gives {examples.gap:.3f} more to the better continuations", err=True)
        train_preference(
            examples, heldout, start, wanted.prompt_frames, options.out, recipe, device, products, options.tensorboard
        )
