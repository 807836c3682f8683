"""Next-coarse-code NLL over a folder of audio, as in the paper's table 1 (arXiv 2412.11449, section 4)."""

from __future__ import annotations

from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.training.data.grouping import GroupBy
from whispergpt.training.lm.comparison import Comparison, Sums
from whispergpt.training.lm.hearing import Condition

CHUNK_FRAMES = 150
NLL, RIGHT = 0, 1
"""Places of the measures: NLL in nats, and right guesses."""


def evaluate(
    folder: Path, models: list[LoadedModel], condition: Condition, group_by: GroupBy = "auto"
) -> dict[str, Any]:
    """Score each recording of ``folder`` with each model; for arguments and errors see ``Comparison``.

    Models that predict the same codes as the first get the difference from it.
    """
    scores = Comparison(folder, models, condition, group_by, _score)
    entries = []
    for number, model in enumerate(models):
        (nll, nll_interval), (accuracy, accuracy_interval) = (scores.mean(number, way) for way in (NLL, RIGHT))
        entry = {
            "model": model.id,
            "parameters": model.step.model.parameter_count(),
            "files": scores.files,
            "frames": scores.frames(number, NLL),
            "nll": nll,
            "accuracy": accuracy,
            "perplexity": exp(nll),
            "groups": scores.groups,
            "nll_interval": nll_interval,
            "accuracy_interval": accuracy_interval,
        }
        if number > 0 and scores.comparable[number]:
            entry["nll_above_first"], entry["nll_above_first_interval"] = scores.mean(number, NLL, above=(0, NLL))
        entries.append(entry)
    return scores.result(entries)


def _score(step: FrameStep, codes: Tensor, mel: Tensor) -> Sums:
    """Return sums of NLL in nats and of right guesses over a recording's frames t ≥ 1, and their number."""
    logits, targets = teacher_forced(step, codes, mel)[:-1], codes[1:]
    nll = float(F.cross_entropy(logits, targets, reduction="sum"))
    return np.array([[nll, float((logits.argmax(-1) == targets).sum())], [len(targets)] * 2])


@torch.inference_mode()
def teacher_forced(step: FrameStep, codes: Tensor, mel: Tensor) -> Tensor:
    """Return the logits ``[T, 1024]`` after each frame of coarse codes ``[T]`` and slices ``[T, n_mels]``."""
    state = step.model.init_state(1, codes.device)
    logits = []
    for start in range(0, len(codes), CHUNK_FRAMES):
        chunk = slice(start, start + CHUNK_FRAMES)
        logits.append(step.model.extend(codes[None, chunk], mel[None, chunk], state, start)[0])
    return torch.cat(logits)
