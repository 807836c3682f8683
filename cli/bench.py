"""``whispergpt bench``: real-time streams of this machine, compared with its arithmetic limit and with peers."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from tqdm import tqdm

from whispergpt.benchmarks.bench import FULL_RUN, Options
from whispergpt.benchmarks.bench import bench as run_bench
from whispergpt.benchmarks.plot import plot_curve
from whispergpt.benchmarks.preset import Preset
from whispergpt.cli.arguments import require_matplotlib, told_in_one_line
from whispergpt.cli.options import MODEL_HELP
from whispergpt.engine.checkpoints.encodec_weights import WeightsError
from whispergpt.engine.config import Dtype
from whispergpt.engine.device import pick_device


def bench(
    preset: Annotated[
        Preset, typer.Option(help="The installed model, or the full-size codec with a 4M hybrid and a fine stage.")
    ] = "default",
    model: Annotated[str | None, typer.Option(help=f"{MODEL_HELP}; instead of the preset's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Length of each run on playback clocks.")] = FULL_RUN,
    peers: Annotated[bool, typer.Option(help="Measure alternative implementations too.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[
        Dtype, typer.Option(help="Precision of products: float32, int8 (CPUs), or auto, bfloat16 if it is fast.")
    ] = "auto",
    streams_only: Annotated[
        bool, typer.Option("--streams-only", help="Skip the single stream and the quality.")
    ] = False,
    curve: Annotated[bool, typer.Option("--curve", help="Add the step time at 1, 2, 4 … streams.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Plot the step times into this file.")] = None,
) -> None:
    """Measure the frame step on this machine, which should be otherwise idle; takes half an hour with peers."""
    with told_in_one_line():
        if plot and not plot.resolve().parent.is_dir():
            raise ValueError(f"{plot.parent} is not a folder.")
        if plot:
            require_matplotlib("--plot")
        options = Options(preset, seconds, peers, streams_only, curve or plot is not None, dtype, model)
        try:
            with tqdm(desc="bench", unit=" measurements", disable=None, leave=False) as progress:
                report = run_bench(options, pick_device(device), partial(_tell, progress))
        except WeightsError as error:
            raise ValueError(str(error)) from None
        if plot:
            plot_curve(report, plot)
    for skipped in report.skipped:
        print(f"skipped {skipped.name}: {skipped.reason}", file=sys.stderr)
    if as_json:
        typer.echo(json.dumps(report.as_json()))
        return
    console = Console()
    for table in report.tables():
        console.print(table)


def _tell(progress: tqdm[NoReturn], line: str) -> None:
    """Count a measurement and show its line, where progress is shown."""
    progress.update()
    if not progress.disable:
        progress.write(line, file=sys.stderr)
