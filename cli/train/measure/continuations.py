"""A measurement of continuations: the engine loaded, what it made measured, and the report kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from whispergpt.cli.arguments import check_finite, default_model, tell_if_slow, told_in_one_line
from whispergpt.cli.train.measure.options import ContinuationOptions
from whispergpt.cli.train.measure.printed import head
from whispergpt.engine.engine import Engine
from whispergpt.server.parameters import Wishes, check_wishes, sampling_for
from whispergpt.training.measures.continuations import Job
from whispergpt.training.measures.figures.packages import need, versions
from whispergpt.training.measures.prompts import cut_prompts
from whispergpt.training.measures.recordings import find_recordings
from whispergpt.training.measures.report import Keeper


def measure_continuations(
    context: typer.Context,
    options: ContinuationOptions,
    measure: Callable[[Job], dict[str, Any]],
    packages: dict[str, str],
    seconds: float,
    rest_seconds: float,
    least_rest_seconds: float,
) -> dict[str, Any]:
    """Continue prompts and return the report: its head, what the samples depend on, and what was measured.

    ``packages``: modules that the measurement needs, and their purposes. Wrong arguments become one-line errors.
    """
    with told_in_one_line():
        for module, purpose in packages.items():
            need(module, purpose)
        recordings, keeper = find_recordings(options.audio), Keeper(options.out, options.keep_audio)
        prompts = cut_prompts(recordings, options.prompts, options.prompt_seconds, rest_seconds, least_rest_seconds)
        wishes = Wishes(options.seed, options.temperature, options.top_k, options.top_p)
        check_finite(temperature=wishes.temperature, top_p=wishes.top_p)
        check_wishes(wishes)
        engine = Engine.load(options.model or default_model(), options.device, options.slots)
        tell_if_slow(engine)
        sampling = sampling_for(wishes, engine.info())
        measured = measure(Job(engine, prompts, seconds, sampling, keeper))
        drawn = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
        report = {
            **head(context, versions(module.split(".")[0] for module in packages)),
            "model": engine.model.id,
            "fingerprint": engine.fingerprint,
            "sampling": drawn,
            **measured,
            "skipped": recordings.skipped,
        }
        keeper.report(report)
        return report
