"""``whispergpt train measure drift``: long streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from whispergpt.cli.arguments import told_in_one_line
from whispergpt.cli.options import expand_options
from whispergpt.cli.train.measure.continuations import measure_continuations
from whispergpt.cli.train.measure.options import ContinuationOptions, Prompts
from whispergpt.cli.train.measure.printed import fault_rows, show, table
from whispergpt.training.measures.drift import MEASURES, check_minutes, measure_drift
from whispergpt.training.measures.drift_plot import PLOT, draw_drift


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
        report = measure_continuations(context, options, measure_drift, packages, minutes * 60, 0.0, 0.0)
        if out is not None:
            draw_drift(report, f"{report['model']}, {len(report['files'])} streams of {minutes:g} minutes", out / PLOT)
    show(report, options, _tables)


def _tables(report: dict[str, Any]) -> None:
    slopes = report["means"]["slopes"]
    rows = [(f"{m.name} ({m.unit})", m.bound, slopes[m.name]) for m in MEASURES]
    table(
        ["measure", "a minute", "±", "over the run", "bound", "verdict"],
        [[name, s["per_minute"], s["error"], s["change"], bound, s["verdict"]] for name, bound, s in rows],
    )
    table(["measure", "stream", "compared with"], fault_rows(report["means"]["figures"]))
