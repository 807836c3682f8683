"""Options of several subcommands of `whispergpt train measure`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from whispergpt.cli.options import MODEL_HELP, AsJson
from whispergpt.server.parameters import RANGES

Seconds = Annotated[float, typer.Option(min=1, max=600, help="To generate after each prompt.")]
Prompts = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, one of each recording, then more.")]
OR_OWN = "; the model's own when left out."


@dataclass(frozen=True)
class MeasureOptions:
    """Sounds to measure, and the output."""

    audio: Annotated[
        list[Path],
        typer.Argument(metavar="AUDIO...", help="Folders of audio, files, or prepared folders (their held-out clips)."),
    ]
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for report.json and what else is kept.")] = (
        None
    )
    keep_audio: Annotated[
        bool, typer.Option("--keep-audio", help="Keep what was measured too, in the folder of -o.")
    ] = False
    as_json: AsJson = False


@dataclass(frozen=True)
class ContinuationOptions(MeasureOptions):
    """Prompts to continue, and how."""

    model: Annotated[str | None, typer.Option(help=f"{MODEL_HELP}.")] = None
    prompts: Prompts = 100
    prompt_seconds: Annotated[float, typer.Option(help="Of each prompt.")] = 3.0
    seed: Annotated[int, typer.Option(help="Of the first continuation; the next ones have the next seeds.")] = 0
    temperature: Annotated[float | None, typer.Option(help=RANGES["temperature"].help + OR_OWN)] = None
    top_k: Annotated[int | None, typer.Option(help=RANGES["top_k"].help + OR_OWN)] = None
    top_p: Annotated[float | None, typer.Option(help=RANGES["top_p"].help + OR_OWN)] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N, for what is generated.")] = "auto"
    keep_bandwidth: Annotated[
        bool,
        typer.Option(help="Keep streams to the bandwidth of their prompts, as a server does, or not."),
    ] = True
    slots: Annotated[int, typer.Option(min=1, max=1024, help="Streams generated at a time.")] = 16
