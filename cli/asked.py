"""What ``eval`` and ``train study`` share: models asked about a folder of audio, and values with their intervals."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cli.arguments import told_in_one_line
from engine.checkpoint import load_model
from engine.engine import pick_device
from training.datasets import find_audio
from training.grouping import GroupBy
from training.hearing import Condition


def ask_models(
    study: Callable[..., dict[str, Any]], folder: Path, names: list[str], condition: Condition, group_by: GroupBy
) -> dict[str, Any]:
    """Load the models and ask them, with progress on a terminal; what is wrong with the arguments is one line."""
    with told_in_one_line():
        if not folder.is_dir():
            raise ValueError(f"There is no folder {folder}.")
        models = [load_model(name, pick_device("cpu")) for name in names]
        files = tqdm(find_audio(folder), unit="file", disable=not sys.stderr.isatty())
        return study(folder, models, condition, group_by, files)


def with_interval(value: float, bounds: tuple[float, float] | None, form: str, bounds_form: str | None = None) -> str:
    """A value and, where it has them, its bounds in brackets."""
    inner = bounds_form or form
    return f"{value:{form}}" + ("" if bounds is None else f" ({bounds[0]:{inner}} … {bounds[1]:{inner}})")
