"""Options of several subcommands of `whispergpt train measure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whispergpt.server.parameters import RANGES

Sources = Annotated[
    list[Path],
    typer.Argument(metavar="AUDIO...", help="Folders of audio, files, or prepared folders (their held-out clips)."),
]
Model = Annotated[str | None, typer.Option(help="Name of an installed model or a folder.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Folder for report.json and what else is kept.")]
KeepAudio = Annotated[bool, typer.Option("--keep-audio", help="Keep what was measured too, in the folder of -o.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N, for what is generated.")]
Slots = Annotated[int, typer.Option(min=1, max=1024, help="Streams generated at a time.")]
Prompts = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, one of each recording, then more.")]
PromptSeconds = Annotated[float, typer.Option(help="Of each prompt.")]
Seconds = Annotated[float, typer.Option(min=1, max=600, help="To generate after each prompt.")]
Seed = Annotated[int, typer.Option(help="Of the first continuation; the next ones have the next seeds.")]
Temperature = Annotated[
    float | None, typer.Option(help=f"{RANGES['temperature'].help}; the model's own when left out.")
]
TopK = Annotated[int | None, typer.Option(help=f"{RANGES['top_k'].help}; the model's own when left out.")]
TopP = Annotated[float | None, typer.Option(help=f"{RANGES['top_p'].help}; the model's own when left out.")]
