"""Studies of what models need: past frames, a question that the paper discusses, and the bands of the spectrogram."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.mel import mel_edges
from whispergpt.training.data.grouping import GroupBy
from whispergpt.training.lm.comparison import Comparison, Sums
from whispergpt.training.lm.evaluate import teacher_forced
from whispergpt.training.lm.hearing import Condition

EVERY_FRAMES = 64
"""Frames between two cold starts of a model, so that contexts of every length are measured throughout a recording."""
AT_ONCE = 8
"""Cold starts in one batch."""
BANDS = 8


def study_context(
    folder: Path, models: list[LoadedModel], condition: Condition, group_by: GroupBy = "auto"
) -> dict[str, Any]:
    """Return the NLL of every model with 1, 2 to 3, 4 to 7 … frames of context, up to the smallest window.

    Every range covers the same frames, or a fair sample of them: those with a whole window before them. Beginnings of
    recordings, and recordings shorter than a window, are therefore not counted.

    Raises:
        ValueError: there is no audio that can be scored, or no recording is longer than a window.
    """
    window = min(model.step.model.config.stack.window for model in models)
    least = [1 << power for power in range((window - 1).bit_length())]

    def nll_by_context(step: FrameStep, codes: Tensor, mel: Tensor) -> Sums:
        sums = np.zeros((2, len(least)))
        for losses, counted in _from_cold(step, codes, mel, window):
            for place, seen in enumerate(least):
                within = slice(seen - 1, 2 * seen - 1)
                sums[:, place] += float(losses[:, within].sum()), float(counted[:, within].sum())
        return sums

    comparison = Comparison(folder, models, condition, group_by, nll_by_context)
    if not comparison.frames(0, 0):
        raise ValueError(f"{folder} has no recording longer than {window} frames, a model's window")

    def entry(number: int, model: LoadedModel) -> dict[str, Any]:
        cells = [
            {"context": [seen, min(2 * seen, window) - 1], "frames": frames, **comparison.nll(number, place)}
            for place, seen in enumerate(least)
            if (frames := comparison.frames(number, place))
        ]
        return {"model": model.id, "by_context": cells}

    return comparison.result([entry(number, model) for number, model in enumerate(models)])


@torch.inference_mode()
def _from_cold(step: FrameStep, codes: Tensor, mel: Tensor, window: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the NLL ``[B, L]`` after 1 to L frames of context, for codes ``[T]`` and slices ``[T, n_mels]``, and a mask
    ``counted`` ``[B, L]``. NLL is 0 where the mask is False: beyond the end, or without a window before it."""
    length, total = window - 1, len(codes)
    starts = range(0, total - 1, EVERY_FRAMES)
    codes, mel = F.pad(codes, (0, window)), F.pad(mel, (0, 0, 0, window))
    for first in range(0, len(starts), AT_ONCE):
        chosen = [slice(start, start + length) for start in starts[first : first + AT_ONCE]]
        logits = step.model(torch.stack([codes[part] for part in chosen]), torch.stack([mel[part] for part in chosen]))
        targets = torch.stack([codes[part.start + 1 : part.stop + 1] for part in chosen])
        at = torch.tensor([part.start for part in chosen])[:, None] + torch.arange(1, length + 1)
        at = at.to(codes.device)
        counted = (at >= length) & (at < total)
        yield F.cross_entropy(logits.transpose(1, 2), targets, reduction="none") * counted, counted


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
