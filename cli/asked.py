"""Options and helpers that ``eval`` and ``train study`` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from whispergpt.cli.arguments import told_in_one_line
from whispergpt.engine.checkpoints.checkpoint import load_model
from whispergpt.engine.device import pick_device
from whispergpt.training.data.grouping import GroupBy
from whispergpt.training.lm.hearing import Condition

AudioDir = Annotated[
    Path, typer.Argument(help="Folder of audio in any layout; of a prepared folder, the held-out files.")
]
Models = Annotated[list[str], typer.Option("--model", help="Name of an installed model or a folder; may be repeated.")]
Slices = Annotated[Condition, typer.Option(help="Audio that the mel slices are made of.")]
Groups = Annotated[
    GroupBy, typer.Option(help="Independent groups for intervals: speakers or works, as in train prepare.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]


def ask_models(
    study: Callable[..., dict[str, Any]], folder: Path, names: list[str], condition: Condition, group_by: GroupBy
) -> dict[str, Any]:
    """Load the models, run the study on them and return its result; wrong arguments become one-line errors."""
    with told_in_one_line():
        models = [load_model(name, pick_device("cpu")) for name in names]
        return study(folder, models, condition, group_by)


def with_interval(value: float, bounds: tuple[float, float] | None, form: str, bounds_form: str | None = None) -> str:
    """Return a formatted value, followed by its bounds in brackets if there are any."""
    inner = bounds_form or form
    return f"{value:{form}}" + ("" if bounds is None else f" ({bounds[0]:{inner}} … {bounds[1]:{inner}})")
