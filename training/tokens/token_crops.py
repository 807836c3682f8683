"""Batches for a model's training step: random stretches of speakers' or works' frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whispergpt.training.data.datasets import odds_by_shares
from whispergpt.training.tokens.stalls import stalled, unstalled
from whispergpt.training.tokens.tokens import Tokens

NO_TARGET = -100
"""Target of frames without one, which PyTorch's cross-entropy leaves out."""


@dataclass(frozen=True)
class Batch:
    """Crops of one step: ``codes`` int64 ``[B, T + 1, K]``, ``mels`` ``[B, T, n_mels]`` of the first T frames, and
    ``targets`` int64 ``[B, T]``, the coarse codes to be learnt for the frames after them; -100 where there are none.
    ``ahead`` ``[B, T, spans, 12]``: the pitch classes of what follows, if they are to be foretold."""

    codes: Tensor
    mels: Tensor
    targets: Tensor
    ahead: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Return a copy on another device."""
        ahead = None if self.ahead is None else self.ahead.to(device)
        return Batch(self.codes.to(device), self.mels.to(device), self.targets.to(device), ahead)

    @property
    def known(self) -> Tensor:
        """Return bool ``[B, T]``: whether the next frame has the coarse code to be learnt, and finer ones with it."""
        return self.targets == self.codes[:, 1:, 0]


class TokenCrops:
    """Random crops of groups' streams; the same step draws the same crops.

    ``sources``: the recordings and altered copies, drawn in proportion to their frames. ``shares``: proportion of the
    crops from each prepared folder, over all sources; None: in proportion to its frames.

    ``odds``: probability of each version of the sound for a crop whose slices are all of one version. In a share of
    ``join_share`` of the crops, slices change from the first to the second version of ``join`` at a random frame. The
    same change occurs where a continuation joins its prompt.

    ``stall_share``: share of the crops with a stall (``stalls``).
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
        stall_share: float = 0.0,
    ) -> None:
        self.sources, self.size, self.frames, self.seed = sources, batch, frames, seed
        self.spans = [(source, *span) for source in sources for span in source.spans]
        self.versions, self.version_odds = list(odds), np.array(list(odds.values())) / sum(odds.values())
        self.join, self.join_share, self.stall_share = join, join_share, stall_share
        folders = [source.folder for source in sources for _ in source.spans]
        self.odds = odds_by_shares([count for _, _, count in self.spans], folders, shares)

    def batch(self, step: int, version: str | None = None) -> Batch:
        """Return the crops of one step; ``version`` None mixes versions as in training."""
        draw = np.random.default_rng((self.seed, step))
        first_source = self.sources[0]
        codes = np.zeros((self.size, self.frames + 1, first_source.codes.shape[1]), np.int64)
        targets = np.full((self.size, self.frames), NO_TARGET, np.int64)
        mels = np.zeros((self.size, self.frames, next(iter(first_source.mels.values())).shape[-1]), np.float32)
        ahead = None
        if first_source.ahead is not None:
            ahead = np.zeros((self.size, self.frames, *first_source.ahead.shape[1:]), np.float32)
        for row in range(self.size):
            tokens, first, count = self.spans[draw.choice(len(self.odds), p=self.odds)]
            taken = min(count, self.frames + 1)
            start = first + int(draw.integers(count - taken + 1))
            before, after, join = self._versions(draw, taken, version)
            stalls = self.stall_share > 0 and draw.random() < self.stall_share
            heard, following = stalled(draw, taken) if stalls else unstalled(taken)
            kept = min(taken, self.frames)
            recorded = tokens.codes[start : start + taken].astype(np.int64)
            codes[row, :taken] = recorded[heard]
            targets[row, : taken - 1] = np.where(following < 0, NO_TARGET, recorded[following, 0])
            slices = np.concatenate(
                [tokens.mels[before][start : start + join], tokens.mels[after][start + join : start + taken]]
            )
            mels[row, :kept] = slices[heard[:kept]]
            if ahead is not None and tokens.ahead is not None and not stalls:
                ahead[row, :kept] = tokens.ahead[start : start + kept]
        told = None if ahead is None else torch.from_numpy(ahead)
        return Batch(torch.from_numpy(codes), torch.from_numpy(mels), torch.from_numpy(targets), told)

    def _versions(self, draw: np.random.Generator, taken: int, version: str | None) -> tuple[str, str, int]:
        """Draw and return the version before the join, the one after it, and the frame of the join."""
        if version is not None:
            return version, version, 0
        if draw.random() < self.join_share:
            return *self.join, int(draw.integers(1, taken))
        chosen = self.versions[draw.choice(len(self.versions), p=self.version_odds)]
        return chosen, chosen, 0
