"""Batches for a model's training step: random stretches of speakers' or works' frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whispergpt.training.data.datasets import odds_by_shares
from whispergpt.training.data.tokens import Tokens


@dataclass(frozen=True)
class Batch:
    """Crops of one step: ``codes`` int64 ``[B, T + 1, K]``, ``mels`` ``[B, T, n_mels]`` of the first T frames, and
    ``known`` bool ``[B, T]``, False where the next frame is padding."""

    codes: Tensor
    mels: Tensor
    known: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return a copy on another device."""
        return Batch(self.codes.to(device), self.mels.to(device), self.known.to(device))

    @property
    def targets(self) -> Tensor:
        """Return the next frames' coarse codes ``[B, T]``, -100 for padding."""
        return torch.where(self.known, self.codes[:, 1:, 0], -100)


class TokenCrops:
    """Random crops of groups' streams; the same step draws the same crops.

    ``sources``: the recordings and altered copies, drawn in proportion to their frames. ``shares``: proportion of the
    crops from each prepared folder, over all sources; None: in proportion to its frames.

    ``odds``: probability of each version of the sound for a crop whose slices are all of one version. In a share of
    ``join_share`` of the crops, slices change from the first to the second version of ``join`` at a random frame. The
    same change occurs where a continuation joins its prompt.
    """

    def __init__(
        self,
        sources: list[Tokens],
        batch: int,
        frames: int,
        seed: int,
        odds: dict[str, float],
        join: tuple[str, str],
        join_share: float,
        shares: tuple[float, ...] | None = None,
    ) -> None:
        self.sources, self.size, self.frames, self.seed = sources, batch, frames, seed
        self.spans = [(source, *span) for source in sources for span in source.spans]
        self.versions, self.version_odds = list(odds), np.array(list(odds.values())) / sum(odds.values())
        self.join, self.join_share = join, join_share
        folders = [folder for source in sources for folder in source.folders]
        self.odds = odds_by_shares([count for _, _, count in self.spans], folders, shares)

    def batch(self, step: int, version: str | None = None) -> Batch:
        """Return the crops of one step; ``version`` None mixes versions as in training."""
        draw = np.random.default_rng((self.seed, step))
        first_source = self.sources[0]
        codes = np.zeros((self.size, self.frames + 1, first_source.codes.shape[1]), np.int64)
        known = np.zeros((self.size, self.frames), bool)
        mels = np.zeros((self.size, self.frames, next(iter(first_source.mels.values())).shape[-1]), np.float32)
        for row in range(self.size):
            tokens, first, count = self.spans[draw.choice(len(self.odds), p=self.odds)]
            taken = min(count, self.frames + 1)
            start = first + int(draw.integers(count - taken + 1))
            codes[row, :taken] = tokens.codes[start : start + taken]
            known[row, : taken - 1] = True
            before, after, join = self._versions(draw, taken, version)
            kept = min(taken, self.frames)
            mels[row, :join] = tokens.mels[before][start : start + join]
            mels[row, join:kept] = tokens.mels[after][start + join : start + kept]
        return Batch(torch.from_numpy(codes), torch.from_numpy(mels), torch.from_numpy(known))

    def _versions(self, draw: np.random.Generator, taken: int, version: str | None) -> tuple[str, str, int]:
        """Draw and return the version before the join, the one after it, and the frame of the join."""
        if version is not None:
            return version, version, 0
        if draw.random() < self.join_share:
            return *self.join, int(draw.integers(1, taken))
        chosen = self.versions[draw.choice(len(self.versions), p=self.version_odds)]
        return chosen, chosen, 0
