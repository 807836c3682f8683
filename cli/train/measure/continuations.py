"""``whispergpt train measure speech|piano|drift``: continuations of voices and pieces, and long streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from whispergpt.cli.arguments import check_finite, default_model, tell_if_slow, told_in_one_line
from whispergpt.cli.options import expand_options
from whispergpt.cli.train.measure.options import ContinuationOptions, Prompts, Seconds
from whispergpt.cli.train.measure.printed import fault_rows, head, number, show, table
from whispergpt.engine.engine import Engine
from whispergpt.server.parameters import Wishes, check_wishes, sampling_for
from whispergpt.training.measures.continuations import Job
from whispergpt.training.measures.drift import MEASURES, PLOT, check_minutes, draw_drift, measure_drift
from whispergpt.training.measures.figures.packages import need, versions
from whispergpt.training.measures.piano import SHARES, measure_piano
from whispergpt.training.measures.prompts import cut_prompts
from whispergpt.training.measures.recordings import find_recordings
from whispergpt.training.measures.report import Keeper
from whispergpt.training.measures.speech import LEAST_REST_SECONDS, measure_speech

SPEECH_PACKAGES = {"speechmos.dnsmos": "DNSMOS", "resemblyzer": "Speaker similarity"}
VOICES = {"the prompt's halves": "halves", "the true rest": "rest", "another speaker": "stranger"}
COMPARED = (
    ("DNSMOS overall", "dnsmos", {"the prompt after the codec": "prompt", "the prompt": "original"}),
    ("speaker similarity to the prompt", "likeness", VOICES),
    ("share of silence", "silence", {"the true rest": "rest"}),
    ("share of seconds that stand still", "still", {"the true rest": "rest"}),
)
"""Name in the table, figure, and the endings of the figures that it is compared with, by their names."""
PIANO_PACKAGES = {"librosa": "Onsets and pitch classes"}
PIANO_COLUMNS = ["measure", "nearer to its own", "its prompt is", "continuation", "true one", "other works"]
ONSETS = ("onsets_nearer", "onsets_nearer_prompt", "onsets", "onsets_true", "onsets_other")
PITCH = ("pitch_nearer", "pitch_nearer_prompt", "", "pitch_distance_true", "pitch_distance_other")
"""Figures in the columns; an empty name stands for none."""


@expand_options
def speech(context: typer.Context, options: ContinuationOptions, seconds: Seconds = 8.0) -> None:
    """Continuations of voices: quality (DNSMOS), whose voice it is (Resemblyzer), how much is silence or a drone."""
    least = min(seconds, LEAST_REST_SECONDS)
    report = _measure(context, options, measure_speech, SPEECH_PACKAGES, seconds, seconds, least)
    show(report, options, _speech_tables)


def _speech_tables(report: dict[str, Any]) -> None:
    row = report["means"]
    rows = [
        [name, row[key], ", ".join(f"{told} {number(row[f'{key}_{of}'])}" for told, of in others.items())]
        for name, key, others in COMPARED
    ]
    table(["measure", "continuation", "compared with"], rows + fault_rows(row))
    below, alike, silent = (number(row[key]) for key in ("dnsmos_below_prompt", "likeness_ratio", "silence_ratio"))
    typer.echo(
        f"{below} below the prompt after the codec; {alike} of the halves' similarity; {silent} of the true silence"
    )


@expand_options
def piano(context: typer.Context, options: ContinuationOptions, seconds: Seconds = 8.0) -> None:
    """Continuations of pieces: are pace and pitch classes nearer to the true continuation's or other works'?"""
    report = _measure(context, options, measure_piano, PIANO_PACKAGES, seconds, seconds, seconds)
    show(report, options, _piano_tables)


def _piano_tables(report: dict[str, Any]) -> None:
    row = report["means"]
    named = {"onsets a second": ONSETS, "distance of pitch classes": PITCH}
    table(PIANO_COLUMNS, [[name, *(row.get(figure) for figure in figures)] for name, figures in named.items()])
    errors = " and ".join(number(row[f"{share}_error"]) for share in SHARES)
    typer.echo(f"standard errors of the shares that are nearer: {errors}")
    table(["measure", "continuation", "compared with"], fault_rows(row))


@dataclass(frozen=True)
class DriftOptions(ContinuationOptions):
    """Few prompts, each continued for minutes."""

    prompts: Prompts = 4
    minutes: Annotated[float, typer.Option(max=60, help="Of each stream.")] = 10.0


@expand_options
def drift(context: typer.Context, options: DriftOptions) -> None:
    """Long streams: do level, spectrum and silence wander? With -o, a plot."""
    minutes, out = options.minutes, options.out
    with told_in_one_line():
        check_minutes(minutes)
        packages = {"matplotlib.figure": "The plot"} if out else {}
        report = _measure(context, options, measure_drift, packages, minutes * 60, 0.0, 0.0)
        if out is not None:
            draw_drift(report, f"{report['model']}, {len(report['files'])} streams of {minutes:g} minutes", out / PLOT)
    show(report, options, _drift_tables)


def _drift_tables(report: dict[str, Any]) -> None:
    slopes = report["means"]["slopes"]
    rows = [(f"{m.name} ({m.unit})", m.bound, slopes[m.name]) for m in MEASURES]
    table(
        ["measure", "a minute", "±", "over the run", "bound", "verdict"],
        [[name, s["per_minute"], s["error"], s["change"], bound, s["verdict"]] for name, bound, s in rows],
    )
    table(["measure", "stream", "compared with"], fault_rows(report["means"]["figures"]))


def _measure(
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
        engine = Engine.load(
            options.model or default_model(), options.device, options.slots, keep_bandwidth=options.keep_bandwidth
        )
        tell_if_slow(engine)
        sampling = sampling_for(wishes, engine.info())
        measured = measure(Job(engine, prompts, seconds, sampling, keeper))
        drawn = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
        report = {
            **head(context, versions([module.split(".")[0] for module in packages])),
            "model": engine.model.id,
            "fingerprint": engine.fingerprint,
            "sampling": drawn,
            **measured,
            "skipped": recordings.skipped,
        }
        keeper.report(report)
        return report
