"""Options of ``eval`` and ``train study``, and figures with their intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from whispergpt.cli.arguments import told_in_one_line
from whispergpt.cli.options import MODEL_HELP, AsJson
from whispergpt.engine.checkpoints.checkpoint import load_model
from whispergpt.engine.device import pick_device
from whispergpt.training.data.grouping import GroupBy
from whispergpt.training.lm.hearing import Condition


@dataclass(frozen=True)
class EvaluationOptions:
    """Recordings and models to evaluate."""

    audio_dir: Annotated[
        Path, typer.Argument(help="Folder of audio in any layout; of a prepared folder, the held-out files.")
    ]
    model: Annotated[list[str], typer.Option(help=f"{MODEL_HELP}; may be repeated.")]
    condition: Annotated[Condition, typer.Option(help="Audio that the mel slices are made of.")] = "original"
    group_by: Annotated[
        GroupBy, typer.Option(help="Independent groups for intervals: speakers or works, as in train prepare.")
    ] = "auto"
    as_json: AsJson = False

    def evaluate(self, study: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        """Load the models, run the study on them and return its result; wrong arguments become one-line errors."""
        with told_in_one_line():
            models = [load_model(name, pick_device("cpu")) for name in self.model]
            return study(self.audio_dir, models, self.condition, self.group_by)


def with_interval(value: float, bounds: tuple[float, float] | None, form: str, bounds_form: str | None = None) -> str:
    """Return a formatted value, followed by its bounds in brackets if there are any."""
    inner = bounds_form or form
    return f"{value:{form}}" + ("" if bounds is None else f" ({bounds[0]:{inner}} … {bounds[1]:{inner}})")
