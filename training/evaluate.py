"""Next-coarse-code NLL over a folder of audio, as the paper's table 1 (arXiv 2412.11449, section 4) counts it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.checkpoint import LoadedModel
from engine.frame_step import FrameStep
from training.bootstrap import interval
from training.grouping import GroupBy
from training.hearing import Condition, Hearings
from training.recordings import Recordings

CHUNK_FRAMES = 150


@dataclass(frozen=True)
class FileScore:
    """Sums over the frames t ≥ 1 of one file of ``group``: NLL in nats, and right guesses."""

    group: str
    nll: float
    right: int
    frames: int


@dataclass(frozen=True)
class ModelScore:
    """One model's files, in the order of every other model's."""

    model: LoadedModel
    files: list[FileScore]

    @property
    def nll(self) -> float:
        return sum(file.nll for file in self.files) / sum(file.frames for file in self.files)

    @property
    def accuracy(self) -> float:
        return sum(file.right for file in self.files) / sum(file.frames for file in self.files)

    def result(self, first: ModelScore | None) -> dict[str, Any]:
        """The model's entry in the JSON of ``whispergpt eval``, with intervals and the distance from the ``first``, if
        that predicts the same codes."""
        nll, right, frames = self._by_group()
        said = {
            "model": self.model.id,
            "parameters": self.model.step.model.parameter_count(),
            "files": len(self.files),
            "frames": int(frames.sum()),
            "nll": self.nll,
            "accuracy": self.accuracy,
            "perplexity": exp(self.nll),
            "groups": len(frames),
            "nll_interval": interval(nll, frames),
            "accuracy_interval": interval(right, frames),
        }
        if first is not None:
            said["nll_above_first"] = self.nll - first.nll
            said["nll_above_first_interval"] = interval(nll - first._by_group()[0], frames)
        return said

    def _by_group(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums of NLL, right guesses and frames, each ``[groups]``."""
        groups = sorted({file.group for file in self.files})
        sums = np.zeros((3, len(groups)))
        for file in self.files:
            sums[:, groups.index(file.group)] += (file.nll, file.right, file.frames)
        return sums[0], sums[1], sums[2]


def evaluate(
    folder: Path,
    models: list[LoadedModel],
    condition: Condition,
    group_by: GroupBy = "auto",
    progress: Iterable[Path] | None = None,
) -> dict[str, Any]:
    """Score every file under ``folder`` with every model, each file from a cold start.

    Args:
        condition: what the mel slices are of: the ``original`` audio, that ``decoded`` from all its codes, or from
            the ``coarse`` codes alone.
        group_by: what is independent of one another, for the intervals: as ``whispergpt train prepare`` splits.
        progress: the files, wrapped to show how far it is.

    Raises:
        ValueError: there is no audio that can be scored.
    """
    recordings = Recordings(folder, group_by)
    scores = [ModelScore(model, []) for model in models]
    hearings = Hearings(condition)

    def comparable(score: ModelScore, first: ModelScore) -> bool:
        codecs = {hearings.name_of(one.model.step.codec) for one in (score, first)}
        return score is not first and len(codecs) == 1

    for group, audio in recordings.read(progress):
        hearings.listen(audio)
        for score in scores:
            score.files.append(_score(score.model.step, hearings, group))
    return {
        "condition": condition,
        "skipped": recordings.skipped,
        "models": [score.result(scores[0] if comparable(score, scores[0]) else None) for score in scores],
        "grouping": recordings.grouping,
    }


def _score(step: FrameStep, hearings: Hearings, group: str) -> FileScore:
    """One recording, over its frames t ≥ 1."""
    codes, mel = hearings.heard_by(step)
    logits = teacher_forced(step, codes, mel)[:-1]
    targets = codes[1:]
    nll = float(F.cross_entropy(logits, targets, reduction="sum"))
    return FileScore(group, nll, int((logits.argmax(-1) == targets).sum()), len(targets))


@torch.inference_mode()
def teacher_forced(step: FrameStep, codes: Tensor, mel: Tensor) -> Tensor:
    """The logits ``[T, 1024]`` after each frame of coarse codes ``[T]`` and slices ``[T, n_mels]``."""
    state = step.model.init_state(1, codes.device)
    logits = []
    for start in range(0, len(codes), CHUNK_FRAMES):
        chunk = slice(start, start + CHUNK_FRAMES)
        logits.append(step.model.extend(codes[None, chunk], mel[None, chunk], state, start)[0])
    return torch.cat(logits)
