"""Random crops for the steps of a codec's training; most silent ones are drawn again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from whispergpt.engine.audio.limits import Samples
from whispergpt.engine.config import HOP
from whispergpt.training.data.augmentation import Augmentation, Augmenter, seed_step
from whispergpt.training.data.datasets import AudioSet, odds_by_shares
from whispergpt.training.data.manifest import Clip

SILENCE = 0.01
"""RMS level below which most crops are drawn again: pauses teach little, and there are many."""
SILENCE_KEPT = 0.05
"""Share of the silent crops that are kept."""


def clip_odds(
    data: AudioSet, samples: int, shares: tuple[float, ...] | None
) -> tuple[list[Clip], npt.NDArray[np.float64]]:
    """Return the clips that are longer than ``samples``, and the probability of drawing from each.

    ``shares``: see ``Crops``.

    Raises:
        ValueError: no clip is long enough.
    """
    clips = [c for c in data.clips if c.samples > samples]
    if not clips:
        raise ValueError(f"no clip is as long as a crop of {samples // HOP} frames")
    return clips, odds_by_shares([c.samples for c in clips], [data.folder_of[c.shard] for c in clips], shares)


def audible(crop: Samples, draw: np.random.Generator) -> bool:
    """Return whether a crop ``[n]`` is not silent, or is one of the few silent ones that are kept."""
    return float(np.sqrt(np.mean(crop**2))) >= SILENCE or draw.random() <= SILENCE_KEPT


class Crops:
    """Random crops of ``frames`` frames, ``batch`` at a time; the same step draws the same crops.

    ``shares``: proportion of the crops that comes from each of the data's folders; None: in proportion to its length.
    """

    def __init__(
        self,
        data: AudioSet,
        batch: int,
        frames: int,
        seed: int,
        augmentation: Augmentation,
        shares: tuple[float, ...] | None = None,
    ) -> None:
        self.data, self.size, self.seed, self.samples = data, batch, seed, frames * HOP
        self.clips, self.odds = clip_odds(data, self.samples, shares)
        self._augment = Augmenter(augmentation, self.samples, torch.device("cpu"))

    def batch(self, step: int) -> Tensor:
        """Return crops ``[batch, samples]`` for one step."""
        draw = np.random.default_rng((self.seed, step))
        crops: list[Samples] = []
        while len(crops) < self.size:
            clip = self.clips[draw.choice(len(self.clips), p=self.odds)]
            crop = self.data.read(clip, int(draw.integers(clip.samples - self.samples)), self.samples)
            if audible(crop, draw):
                crops.append(crop)
        seed_step(self.seed, step)
        return self._augment(torch.from_numpy(np.stack(crops)))
