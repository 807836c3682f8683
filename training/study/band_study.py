"""Study of spectrogram bands: how much worse a hybrid predicts when a band carries no information."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.mel import mel_edges
from whispergpt.training.data.grouping import GroupBy
from whispergpt.training.lm.comparison import Comparison, Sums
from whispergpt.training.lm.evaluate import teacher_forced
from whispergpt.training.lm.hearing import Condition

BANDS = 8


def study_bands(
    folder: Path, models: list[LoadedModel], condition: Condition, group_by: GroupBy = "auto"
) -> dict[str, Any]:
    """Return the NLL lost when the bins of each band, and at last of all, are set to their mean over a recording.

    The models were not trained with bands left out, so that part of the loss comes from unfamiliar input.

    Raises:
        ValueError: there is no audio that can be scored, or a model has no spectrogram.
    """
    if deaf := [model.id for model in models if not model.step.model.hybrid]:
        raise ValueError(f"{', '.join(deaf)}: a token-only model has no spectrogram")
    comparison = Comparison(folder, models, condition, group_by, _nll_without)
    return comparison.result([_entry(number, model, comparison) for number, model in enumerate(models)])


def _nll_without(step: FrameStep, codes: Tensor, mel: Tensor) -> Sums:
    """Return the NLL without each of the parts."""
    nll = []
    for bins in _parts(mel.shape[1]):
        masked = mel.clone()
        masked[:, bins] = mel.mean(0)[bins]
        logits = teacher_forced(step, codes, masked)[:-1]
        nll.append(float(F.cross_entropy(logits, codes[1:], reduction="sum")))
    return np.stack([np.array(nll), np.full(len(nll), len(codes) - 1.0)])


def _parts(n_mels: int) -> list[slice]:
    """Return the bins that are left out: none, each band, all."""
    bounds = [n_mels * band // BANDS for band in range(BANDS + 1)]
    return [slice(0, 0), *(slice(low, high) for low, high in pairwise(bounds)), slice(0, n_mels)]


def _entry(number: int, model: LoadedModel, comparison: Comparison) -> dict[str, Any]:
    config = model.step.mel.config
    edges = mel_edges(config.n_mels, config.low_hz, config.high_hz).tolist()
    lost = [
        {
            "bins": [bins.start, bins.stop - 1],
            "hz": [round(edges[bins.start]), round(edges[bins.stop + 1])],
            **comparison.nll(number, way, above=(number, 0)),
        }
        for way, bins in enumerate(_parts(config.n_mels))
        if way > 0
    ]
    return {"model": model.id, **comparison.nll(number, 0), "lost_without": lost[:-1], "lost_without_all": lost[-1]}
