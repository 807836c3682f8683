"""``whispergpt train measure piano``: continuations of pieces."""

from __future__ import annotations

from typing import Any

import typer

from whispergpt.cli.options import expand_options
from whispergpt.cli.train.measure.continuations import measure_continuations
from whispergpt.cli.train.measure.options import ContinuationOptions, Seconds
from whispergpt.cli.train.measure.printed import fault_rows, show, table
from whispergpt.training.measures.piano import measure_piano

PACKAGES = {"librosa": "Onsets and pitch classes"}
COLUMNS = ["measure", "nearer to its own", "its prompt is", "continuation", "true one", "another piece"]
ONSETS = ("onsets_nearer", "onsets_nearer_prompt", "onsets", "onsets_true", "onsets_other")
PITCH = ("pitch_nearer", "pitch_nearer_prompt", "", "pitch_distance_true", "pitch_distance_other")
"""Figures in the columns; an empty name stands for none."""


@expand_options
def piano(context: typer.Context, options: ContinuationOptions, seconds: Seconds = 8.0) -> None:
    """Continuations of pieces: are pace and pitch classes nearer to the true continuation's or another piece's?"""
    report = measure_continuations(context, options, measure_piano, PACKAGES, seconds, seconds, seconds)
    show(report, options, _tables)


def _tables(report: dict[str, Any]) -> None:
    row = report["means"]
    named = {"onsets a second": ONSETS, "distance of pitch classes": PITCH}
    table(COLUMNS, [[name, *(row.get(figure) for figure in figures)] for name, figures in named.items()])
    table(["measure", "continuation", "compared with"], fault_rows(row))
