"""Study of spectrogram bands: how much worse a hybrid predicts when a band carries no information."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.model.mel import mel_edges
from whispergpt.training.data.grouping import GroupBy
from whispergpt.training.data.recordings import Recordings
from whispergpt.training.lm.comparison import Comparison
from whispergpt.training.lm.evaluate import teacher_forced
from whispergpt.training.lm.hearing import Condition, Hearings

BANDS = 8


def study_bands(
    folder: Path,
    models: list[LoadedModel],
    condition: Condition,
    group_by: GroupBy = "auto",
) -> dict[str, Any]:
    """Return the NLL lost when the bins of each band, and at last of all, are set to their mean over a recording.

    The models were not trained with bands left out, so that part of the loss comes from unfamiliar input.

    Raises:
        ValueError: there is no audio that can be scored, or a model has no spectrogram.
    """
    if deaf := [model.id for model in models if not model.step.model.hybrid]:
        raise ValueError(f"{', '.join(deaf)}: a token-only model has no spectrogram")
    recordings, hearings = Recordings(folder, group_by), Hearings(condition)
    parts = {model.id: _parts(model.step.mel.config.n_mels) for model in models}
    compared = [Comparison(BANDS + 2) for _ in models]
    for group, audio in recordings.read():
        hearings.listen(audio)
        for model, comparison in zip(models, compared, strict=True):
            codes, mel = hearings.heard_by(model.step)
            nll = []
            for bins in parts[model.id]:
                masked = mel.clone()
                masked[:, bins] = mel.mean(0)[bins]
                logits = teacher_forced(model.step, codes, masked)[:-1]
                nll.append(float(F.cross_entropy(logits, codes[1:], reduction="sum")))
            comparison.add(group, np.array(nll), np.full(BANDS + 2, len(codes) - 1.0))
    entries = [_entry(model, comparison, parts[model.id]) for model, comparison in zip(models, compared, strict=True)]
    return {"condition": condition, "skipped": recordings.skipped, "grouping": recordings.grouping, "models": entries}


def _parts(n_mels: int) -> list[slice]:
    """Return the bins that are left out: none, each band, all."""
    bounds = [n_mels * band // BANDS for band in range(BANDS + 1)]
    return [slice(0, 0), *(slice(low, high) for low, high in pairwise(bounds)), slice(0, n_mels)]


def _entry(model: LoadedModel, comparison: Comparison, parts: list[slice]) -> dict[str, Any]:
    config = model.step.mel.config
    edges = mel_edges(config.n_mels, config.low_hz, config.high_hz).tolist()
    lost = [
        {
            "bins": [bins.start, bins.stop - 1],
            "hz": [round(edges[bins.start]), round(edges[bins.stop + 1])],
            **comparison.nll(way, above=0),
        }
        for way, bins in enumerate(parts)
        if way > 0
    ]
    return {"model": model.id, **comparison.nll(0), "lost_without": lost[:-1], "lost_without_all": lost[-1]}
