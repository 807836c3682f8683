"""Curves of a run for TensorBoard, which is an extra: ``whispergpt[tensorboard]``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def require_tensorboard() -> None:
    """Check early that TensorBoard is there.

    Raises:
        ValueError: TensorBoard is not installed.
    """
    if find_spec("tensorboard") is None:
        raise ValueError("--tensorboard needs the package tensorboard; install whispergpt[tensorboard].")


class Board:
    """Scalars of one run, in a folder of their own that the first of them creates."""

    def __init__(self, folder: Path) -> None:
        require_tensorboard()
        self._folder = folder
        self._writer: Any = None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write values of one step. The first call hides values of an interrupted run from that step on."""
        if self._writer is None:
            # Imported here: it takes a second and needs an extra.
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
