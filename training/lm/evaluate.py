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
from whispergpt.training.data.recordings import Recordings
from whispergpt.training.lm.comparison import Comparison
from whispergpt.training.lm.hearing import Condition, Hearings

CHUNK_FRAMES = 150


def evaluate(
    folder: Path,
    models: list[LoadedModel],
    condition: Condition,
    group_by: GroupBy = "auto",
) -> dict[str, Any]:
    """Score each recording of ``folder`` (training/data/recordings.py) with each model, from a cold start.

    Args:
        condition: source of the mel slices: the ``original`` audio, audio ``decoded`` from all its codes, or from the
            ``coarse`` codes alone.
        group_by: the unit that is resampled for intervals, as in ``whispergpt train prepare``.

    Raises:
        ValueError: there is no audio that can be scored.
    """
    recordings, hearings = Recordings(folder, group_by), Hearings(condition)
    scores = Comparison(2 * len(models))  # for each model its NLL, then its right guesses
    files = 0
    for group, audio in recordings.read():
        hearings.listen(audio)
        sums = np.array([_score(model.step, hearings) for model in models])
        scores.add(group, sums[:, :2].reshape(-1), sums[:, 2].repeat(2))
        files += 1
    codecs = [hearings.name_of(model.step.codec) for model in models]
    entries = [
        _entry(model, scores, number, files, comparable=number > 0 and codecs[number] == codecs[0])
        for number, model in enumerate(models)
    ]
    return {
        "condition": condition,
        "skipped": recordings.skipped,
        "models": entries,
        "grouping": recordings.grouping,
    }


def _entry(model: LoadedModel, scores: Comparison, number: int, files: int, comparable: bool) -> dict[str, Any]:
    """Return one model's entry in the JSON of ``whispergpt eval``.

    ``comparable``: the first model predicts the same codes, so that the entry gets the difference from it.
    """
    nll, accuracy = scores.mean(2 * number), scores.mean(2 * number + 1)
    entry = {
        "model": model.id,
        "parameters": model.step.model.parameter_count(),
        "files": files,
        "frames": scores.frames(2 * number),
        "nll": nll["mean"],
        "accuracy": accuracy["mean"],
        "perplexity": exp(nll["mean"]),
        "groups": scores.groups,
        "nll_interval": nll["interval"],
        "accuracy_interval": accuracy["interval"],
    }
    if comparable:
        above = scores.mean(2 * number, above=0)
        entry |= {"nll_above_first": above["mean"], "nll_above_first_interval": above["interval"]}
    return entry


def _score(step: FrameStep, hearings: Hearings) -> tuple[float, int, int]:
    """Return sums of NLL in nats and of right guesses over a recording's frames t ≥ 1, and their number."""
    codes, mel = hearings.heard_by(step)
    logits = teacher_forced(step, codes, mel)[:-1]
    targets = codes[1:]
    nll = float(F.cross_entropy(logits, targets, reduction="sum"))
    return nll, int((logits.argmax(-1) == targets).sum()), len(targets)


@torch.inference_mode()
def teacher_forced(step: FrameStep, codes: Tensor, mel: Tensor) -> Tensor:
    """Return the logits ``[T, 1024]`` after each frame of coarse codes ``[T]`` and slices ``[T, n_mels]``."""
    state = step.model.init_state(1, codes.device)
    logits = []
    for start in range(0, len(codes), CHUNK_FRAMES):
        chunk = slice(start, start + CHUNK_FRAMES)
        logits.append(step.model.extend(codes[None, chunk], mel[None, chunk], state, start)[0])
    return torch.cat(logits)
