"""What context is worth to a model: its NLL by how many frames it has seen. The paper's argument is context."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.checkpoint import LoadedModel
from engine.frame_step import FrameStep
from training.comparison import Comparison
from training.grouping import GroupBy
from training.hearing import Condition, Hearings
from training.recordings import Recordings

EVERY_FRAMES = 64
"""A model starts cold every so many frames of a recording, so that each frame is predicted from many contexts."""
AT_ONCE = 8
"""Cold starts in one batch."""


def study_context(
    folder: Path,
    models: list[LoadedModel],
    condition: Condition,
    group_by: GroupBy = "auto",
    progress: Iterable[Path] | None = None,
) -> dict[str, Any]:
    """NLL of every model with 1, 2 to 3, 4 to 7 … frames of context, up to the smallest of their windows.

    Raises:
        ValueError: there is no audio that can be scored.
    """
    window = min(model.step.model.config.stack.window for model in models)
    least = [1 << power for power in range(window.bit_length() - 1)]
    recordings, hearings = Recordings(folder, group_by), Hearings(condition)
    compared = [Comparison(len(least)) for _ in models]
    for group, audio in recordings.read(progress):
        hearings.listen(audio)
        for model, comparison in zip(models, compared, strict=True):
            nll, frames = np.zeros(len(least)), np.zeros(len(least))
            for losses in _from_cold(model.step, *hearings.heard_by(model.step), window):
                for place, seen in enumerate(least):
                    within = losses[:, seen - 1 : 2 * seen - 1]
                    nll[place] += float(within.sum())
                    frames[place] += within.numel()
            comparison.add(group, nll, frames)
    said = [
        {
            "model": model.id,
            "by_context": [
                {
                    "context": [seen, 2 * seen - 1],
                    "frames": comparison.frames(place),
                    **comparison.mean(place),
                }
                for place, seen in enumerate(least)
                if comparison.frames(place)
            ],
        }
        for model, comparison in zip(models, compared, strict=True)
    ]
    return {"condition": condition, "skipped": recordings.skipped, "grouping": recordings.grouping, "models": said}


@torch.inference_mode()
def _from_cold(step: FrameStep, codes: Tensor, mel: Tensor, window: int) -> Iterator[Tensor]:
    """NLL ``[B, L]`` of frames behind 1 to L frames of context; ``codes`` ``[T]``, ``mel`` ``[T, n_mels]``."""
    length = min(window, len(codes)) - 1
    starts = list(range(0, len(codes) - length, EVERY_FRAMES))
    for first in range(0, len(starts), AT_ONCE):
        chosen = [slice(start, start + length) for start in starts[first : first + AT_ONCE]]
        logits = step.model(torch.stack([codes[part] for part in chosen]), torch.stack([mel[part] for part in chosen]))
        targets = torch.stack([codes[part.start + 1 : part.stop + 1] for part in chosen])
        yield F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
