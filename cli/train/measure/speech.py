"""``whispergpt train measure speech``: continuations of voices."""

from __future__ import annotations

from typing import Any

import typer

from whispergpt.cli.options import expand_options
from whispergpt.cli.train.measure.continuations import measure_continuations
from whispergpt.cli.train.measure.options import ContinuationOptions, Seconds
from whispergpt.cli.train.measure.printed import fault_rows, number, show, table
from whispergpt.training.measures.speech import LEAST_REST_SECONDS, measure_speech

PACKAGES = {"speechmos.dnsmos": "DNSMOS", "resemblyzer": "Speaker similarity"}
VOICES = {"the prompt's halves": "halves", "the true rest": "rest", "another speaker": "stranger"}
COMPARED = (
    ("DNSMOS overall", "dnsmos", {"the prompt after the codec": "prompt", "the prompt": "original"}),
    ("speaker similarity to the prompt", "likeness", VOICES),
    ("share of silence", "silence", {"the true rest": "rest"}),
)
"""Name in the table, figure, and the endings of the figures that it is compared with, by their names."""


@expand_options
def speech(context: typer.Context, options: ContinuationOptions, seconds: Seconds = 8.0) -> None:
    """Continuations of voices: quality (DNSMOS), whose voice it is (Resemblyzer), how much is silence."""
    least = min(seconds, LEAST_REST_SECONDS)
    report = measure_continuations(context, options, measure_speech, PACKAGES, seconds, seconds, least)
    show(report, options, _tables)


def _tables(report: dict[str, Any]) -> None:
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
