"""``whispergpt eval``: prediction of the next coarse code of real recordings."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from whispergpt.cli.arguments import counted
from whispergpt.cli.evaluation import EvaluationOptions, with_interval
from whispergpt.cli.options import expand_options
from whispergpt.training.lm.evaluate import evaluate as evaluate_models


@expand_options
def evaluate(options: EvaluationOptions) -> None:
    """Measure next-coarse-code NLL in nats, accuracy and perplexity over a folder of audio, as the paper's table 1."""
    result = options.evaluate(evaluate_models)
    if options.as_json:
        typer.echo(json.dumps(result))
        return
    Console().print(_table(result))


def _table(result: dict[str, Any]) -> Table:
    first = result["models"][0]
    title = f"slices of {result['condition']} audio: {first['frames']} frames of {counted(first['files'], 'file')}"
    skipped = f", {counted(len(result['skipped']), 'file')} skipped" if result["skipped"] else ""
    table = Table(title=title + skipped, title_justify="left")
    table.caption = f"95 % intervals over {counted(first['groups'], 'group')} ({result['grouping']})"
    for column in ("model", "parameters", "NLL", "accuracy", "perplexity", f"NLL above {first['model']}"):
        table.add_column(column, justify="left" if column == "model" else "right", overflow="fold")
    for row in result["models"]:
        above = row.get("nll_above_first")
        table.add_row(
            row["model"],
            f"{row['parameters'] / 1e6:.2f}M",
            with_interval(row["nll"], row["nll_interval"], ".4f", ".3f"),
            f"{100 * row['accuracy']:.2f} %",
            f"{row['perplexity']:.2f}",
            "" if above is None else with_interval(above, row["nll_above_first_interval"], "+.4f", "+.3f"),
        )
    return table
