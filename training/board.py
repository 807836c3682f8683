"""Curves of a run for TensorBoard, which is an extra: ``whispergpt[tensorboard]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whispergpt.engine.extras import require_package


def require_tensorboard() -> None:
    """Check early that tensorboard is there.

    Raises:
        MissingPackageError: tensorboard is not installed.
    """
    require_package("tensorboard", "--tensorboard", "tensorboard")


class Board:
    """Scalars of one run, in a folder of their own that is made with the first of them."""

    def __init__(self, folder: Path) -> None:
        require_tensorboard()
        self._folder = folder
        self._writer: Any = None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write values of one step. The first call hides what an interrupted run wrote of that step and later ones."""
        if self._writer is None:
            # Only here: it takes a second, and an extra.
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
