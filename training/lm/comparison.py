"""Comparison of models on the same frames: sums by speaker or work, means over frames and their intervals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.training.data.grouping import GroupBy
from whispergpt.training.data.recordings import recordings_in
from whispergpt.training.lm.hearing import Condition, Hearings

Array = npt.NDArray[np.float64]
Sums = Array
"""A model's sum of each measure, and its number of frames, ``[2, ways]``."""
Measure = Callable[[FrameStep, Tensor, Tensor], Sums]
"""Function that measures a model, given a recording's coarse codes ``[T]`` and slices ``[T, n_mels]``."""
FEWEST_SECONDS = 8 / FRAME_RATE
"""Seconds of the shortest recording that is measured: eight frames."""
RESAMPLES = 4_000
CONFIDENCE = 0.95
FEWEST_GROUPS = 5
"""Fewest groups that give a reliable interval."""


class Comparison:
    """Measures of models over the recordings of a folder, each from a cold start.

    Args:
        condition: source of the mel slices: the ``original`` audio, audio ``decoded`` from all its codes, or from the
            ``coarse`` codes alone.
        group_by: the unit that is resampled for intervals, as in ``whispergpt train prepare``.

    Attributes:
        files: number of recordings.
        comparable: for each model, whether it predicts the same codes as the first.

    Raises:
        ValueError: there is no audio that can be scored.
    """

    def __init__(
        self, folder: Path, models: list[LoadedModel], condition: Condition, group_by: GroupBy, measure: Measure
    ) -> None:
        self._condition, self._recordings = condition, recordings_in(folder, group_by)
        self._sums: dict[str, Array] = {}  # [models, 2, ways] of each group
        self.files = 0
        hearings = Hearings(models, condition)
        self.comparable = [codes == hearings.codes[0] for codes in hearings.codes]
        for recording, samples in self._recordings.read(FEWEST_SECONDS, "evaluate"):
            heard = zip(models, hearings.of(samples), strict=True)
            sums = np.stack([measure(model.step, codes, mel) for model, (codes, mel) in heard])
            self._sums[recording.group] = self._sums.get(recording.group, 0.0) + sums
            self.files += 1
        if not self.files:
            raise ValueError(f"{folder} has no audio that can be scored")

    @property
    def groups(self) -> int:
        """Return the number of speakers or works."""
        return len(self._sums)

    def frames(self, model: int, way: int) -> int:
        """Return the number of frames of one measure."""
        return int(sum(sums[model, 1, way] for sums in self._sums.values()))

    def mean(
        self, model: int, way: int, above: tuple[int, int] | None = None
    ) -> tuple[float, tuple[float, float] | None]:
        """Return mean and interval of one measure, or of its difference from that of ``above``, a model and a way."""
        sums = np.stack([group for group in self._sums.values() if group[model, 1, way]])
        measured, frames = sums[:, model, 0, way], sums[:, model, 1, way]
        if above is not None:
            measured = measured - sums[:, above[0], 0, above[1]]
        return float(measured.sum() / frames.sum()), interval(measured, frames)

    def nll(self, model: int, way: int, above: tuple[int, int] | None = None) -> dict[str, Any]:
        """Return the result of ``mean`` for an NLL, as ``nll`` and ``interval``."""
        return dict(zip(("nll", "interval"), self.mean(model, way, above), strict=True))

    def result(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the JSON of a command, with an entry for each model."""
        skipped, grouping = self._recordings.skipped, self._recordings.grouping
        return {"condition": self._condition, "skipped": skipped, "models": entries, "grouping": grouping}


def interval(sums: Array, frames: Array, seed: int = 0) -> tuple[float, float] | None:
    """Return the 95 % interval of ``sums.sum() / frames.sum()``, both ``[groups]``; None for too few groups.

    It is the percentile bootstrap (Efron and Tibshirani 1993, chapter 13) of a ratio of sums, which resamples
    independent groups, never frames. A seed always resamples the same groups. To compare two models on the same groups,
    give the difference of their ``sums``.
    """
    groups = len(sums)
    if groups < FEWEST_GROUPS:
        return None
    drawn = np.random.default_rng(seed).integers(groups, size=(RESAMPLES, groups))
    means = sums[drawn].sum(axis=1) / frames[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
