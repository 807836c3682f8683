"""Heads of reports and printed tables of `whispergpt train measure`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Column, Table

from whispergpt.cli.arguments import tell_skipped
from whispergpt.cli.train.measure.options import MeasureOptions
from whispergpt.training.measures.report import REPORT


def head(context: typer.Context, packages: Mapping[str, str]) -> dict[str, Any]:
    """The beginning of a report: the command with every flag spelt out, defaults too, and the versions it ran with."""
    flags: dict[str, Any] = {}
    words, sources = ["whispergpt", "train", "measure", str(context.command.name)], []
    for parameter in context.command.params:
        value = context.params[str(parameter.name)]
        several = isinstance(value, list | tuple)
        plain = [str(one) if isinstance(one, Path) else one for one in (value if several else [value])]
        if parameter.param_type_name == "argument":
            sources = [str(one) for one in plain]
            continue
        flags[str(parameter.name)] = plain if several else plain[0]
        for one in plain:
            if one is not None and one is not False:
                words += [parameter.opts[-1], *([] if one is True else [str(one)])]
    return {"command": shlex.join([*words, *sources]), "flags": flags, "packages": dict(packages)}


_WIDEST = 36
"""Characters from which a cell is written in several lines."""


def table(names: Sequence[str], rows: Sequence[Sequence[float | str | None]]) -> None:
    """Print rows under names. Columns that do not fit the screen follow in a table below, behind the first column."""
    cells = [list(names), *([one if isinstance(one, str) else number(one) for one in row] for row in rows)]
    widths = [min(_WIDEST, max(len(row[column]) for row in cells)) for column in range(len(names))]
    console = Console(highlight=False, markup=False)
    for columns in _blocks(widths, console.width):
        headed = (Column(names[column], no_wrap=widths[column] < _WIDEST) for column in columns)
        drawn = Table(*headed, box=None, pad_edge=False, header_style="")
        for row in cells[1:]:
            drawn.add_row(*(row[column] for column in columns))
        console.print(drawn)


def _blocks(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Yield the columns of each table, of which none is wider than the room where that is possible."""
    block = [0]
    for column in range(1, len(widths)):
        if len(block) > 1 and sum(widths[one] + 2 for one in [*block, column]) - 2 > room:
            yield block
            block = [0]
        block.append(column)
    yield block


FAULTS = {
    "comb_db": "comb at 75 Hz, dB",
    "frame_correlation": "correlation a frame later",
    "high_band_db": "above 8.2 kHz, dB",
    "band_rise_db": "rise above 8.2 kHz, dB",
    "opened_share": "share that opens above 8.2 kHz",
}
"""Names in tables of the figures of the buzz and of the high band."""
COMPARED = {"prompt": "the prompt after the codec", "original": "the prompt", "rest": "the true rest"}
"""Names in tables of what a continuation is compared with, by the ending of its figures' names."""


def fault_rows(row: Mapping[str, float | None]) -> list[list[float | str | None]]:
    """Return table rows of a continuation's faults, each with what it is compared with, from a row of means."""
    return [
        [
            name,
            row[key],
            ", ".join(f"{told} {number(row[f'{key}_{of}'])}" for of, told in COMPARED.items() if f"{key}_{of}" in row),
        ]
        for key, name in FAULTS.items()
    ]


def number(value: float | None) -> str:
    """Three decimals at most, and a dash where there is none."""
    return "-" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def show(report: dict[str, Any], options: MeasureOptions, print_tables: Callable[[dict[str, Any]], None]) -> None:
    """Print a report as JSON, or its tables and where it lies; what was skipped goes to stderr."""
    if options.as_json:
        typer.echo(json.dumps(report))
        return
    print_tables(report)
    tell_skipped([(entry["file"], entry["why"]) for entry in report["skipped"]])
    if options.out is not None:
        typer.echo(f"{options.out / REPORT} has every file's figures")
