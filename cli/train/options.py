"""Options of several subcommands of `whispergpt train`, and the lists of numbers that some of them take."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.board import require_tensorboard
from whispergpt.training.data.alteration import Alteration

Data = Annotated[list[Path], typer.Argument(help="Folders that `whispergpt train prepare` wrote.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder of the run: checkpoint, log and result.")]
Seed = Annotated[int, typer.Option(help="Of the weights and the order of the data.")]
Steps = Annotated[int, typer.Option(help="Optimiser steps in all.")]
Batch = Annotated[int, typer.Option(help="Crops of ten seconds a step.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Transpose = Annotated[
    str | None,
    typer.Option(help="Learn from the recordings played faster and slower too: semitones, such as -1.5,1.5."),
]
LimitBand = Annotated[
    str | None,
    typer.Option(help="Learn from copies without what is above so many Hz too, of recordings that reach higher: 8000."),
]
Shares = Annotated[str | None, typer.Option(help="How much comes from each folder, such as 3,1. Default: their hours.")]
Bfloat16 = Annotated[
    bool | None,
    typer.Option(
        "--bfloat16/--float32",
        help="The type of the large products. Default: bfloat16 where the device multiplies it faster.",
    ),
]
Boards = Annotated[
    Path | None,
    typer.Option(help="Write the log for TensorBoard too, into a folder of the run's name in this one."),
]


LEAST_LIMIT_HZ = 1_000


def alterations(transpose: str | None, limit_band: str | None) -> list[Alteration]:
    """Return the copies that are asked for.

    Raises:
        ValueError: a list is not one of numbers, or one of them is out of range.
    """
    return [
        *(Alteration(semitones=shift) for shift in _semitones(transpose)),
        *(Alteration(highest_hz=hertz) for hertz in _limits(limit_band)),
    ]


def _numbers(given: str | None) -> list[float]:
    """Return the numbers between commas; NaN alone, which no option takes, where one is not a number."""
    try:
        return [float(part) for part in given.split(",")] if given else []
    except ValueError:
        return [math.nan]


def shares_of(given: str | None, folders: int) -> tuple[float, ...] | None:
    """Return how much comes from each folder; None for their hours.

    Raises:
        ValueError: it is not one number above 0 for each.
    """
    if given is None:
        return None
    shares = tuple(_numbers(given))
    if len(shares) != folders or not all(0 < share < math.inf for share in shares):
        raise ValueError(f"--shares must be {folders} numbers above 0 with commas between, not {given!r}")
    return shares


def _semitones(given: str | None) -> list[float]:
    semitones = _numbers(given)
    if not all(0 < abs(shift) <= 12 for shift in semitones):
        raise ValueError(f"--transpose must be semitones from -12 to 12 with commas between, not {given!r}")
    return semitones


def _limits(given: str | None) -> list[float]:
    limits = _numbers(given)
    if not all(LEAST_LIMIT_HZ <= limit < SAMPLE_RATE / 2 for limit in limits):
        raise ValueError(
            f"--limit-band must be Hz from {LEAST_LIMIT_HZ} to below {SAMPLE_RATE // 2} with commas between, "
            f"not {given!r}"
        )
    return limits


def check_boards(folder: Path | None) -> None:
    """Check that there is a TensorBoard where one is asked for.

    Raises:
        ValueError: it is not installed.
    """
    if folder is not None:
        require_tensorboard()
