"""Curves of a run for TensorBoard, which is an extra: ``whispergpt[tensorboard]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whispergpt.engine.extras import require_package


def require_tensorboard() -> None:
    """Check early that TensorBoard is there.

    Raises:
        MissingPackageError: TensorBoard is not installed.
    """
    require_package("tensorboard", "--tensorboard", "tensorboard")


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
