"""The kinds of fine stage."""

from __future__ import annotations

from typing import TypeAlias

from whispergpt.engine.config import FineConfig
from whispergpt.engine.model.fine.drawn_stage import DrawnStage
from whispergpt.engine.model.fine.nearest_stage import NearestStage

FineStage: TypeAlias = DrawnStage | NearestStage


def new_fine_stage(config: FineConfig, hidden_width: int) -> FineStage:
    """Return a fine stage of the kind that its config names, with new weights."""
    return (DrawnStage if config.kind == "drawn" else NearestStage)(config, hidden_width)
