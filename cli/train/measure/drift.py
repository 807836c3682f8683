"""``whispergpt train measure drift``: long streams."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from whispergpt.cli.arguments import told_in_one_line
from whispergpt.cli.train.measure.continued import continued
from whispergpt.cli.train.measure.options import (
    AsJson,
    Device,
    KeepAudio,
    Model,
    Out,
    Prompts,
    PromptSeconds,
    Seed,
    Slots,
    Sources,
    Temperature,
    TopK,
    TopP,
)
from whispergpt.cli.train.measure.printed import fault_rows, head, table, tell
from whispergpt.engine.engine import Engine
from whispergpt.engine.messages import SamplingParams
from whispergpt.server.parameters import Wishes
from whispergpt.training.measures.drift import MEASURES, check_minutes, measure_drift
from whispergpt.training.measures.drift_plot import PLOT, draw_drift
from whispergpt.training.measures.figures.packages import need, versions
from whispergpt.training.measures.prompts import CutPrompt, cut_prompts
from whispergpt.training.measures.recordings import Recordings, find_recordings
from whispergpt.training.measures.report import Keeper


def drift(
    context: typer.Context,
    prompt: Sources,
    model: Model = None,
    minutes: Annotated[float, typer.Option(max=60, help="Of each stream.")] = 10.0,
    prompts: Prompts = 4,
    prompt_seconds: PromptSeconds = 3.0,
    seed: Seed = 0,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    device: Device = "auto",
    slots: Slots = 16,
    out: Out = None,
    keep_audio: KeepAudio = False,
    as_json: AsJson = False,
) -> None:
    """Long streams: do level, spectrum and silence wander? With -o, a plot."""
    with told_in_one_line():
        check_minutes(minutes)
        if out is not None:
            need("matplotlib.figure", "The plot")
        recordings, keeper = find_recordings(prompt), Keeper(out, keep_audio)
        found = cut_prompts(recordings, prompts, prompt_seconds, 0.0, 0.0)

        def run(
            engine: Engine, cut: list[CutPrompt], _: Recordings, seconds: float, sampling: SamplingParams, keep: Keeper
        ) -> dict[str, Any]:
            return measure_drift(engine, cut, seconds / 60, sampling, keep)

        wishes = Wishes(seed, temperature, top_k, top_p)
        beginning = head(context, versions(("matplotlib",)))
        report = continued(beginning, run, model, device, slots, found, recordings, minutes * 60, wishes, keeper)
        if out is not None:
            draw_drift(report, f"{report['model']}, {len(found)} streams of {minutes:g} minutes", out / PLOT)
    if as_json:
        typer.echo(json.dumps(report))
        return
    slopes = report["means"]["slopes"]
    rows = [(f"{m.name} ({m.unit})", m.bound, slopes[m.name]) for m in MEASURES]
    table(
        ["measure", "a minute", "±", "over the run", "bound", "verdict"],
        [[name, s["per_minute"], s["error"], s["change"], bound, s["verdict"]] for name, bound, s in rows],
    )
    table(["measure", "stream", "compared with"], fault_rows(report["means"]["figures"]))
    tell(report, out)
