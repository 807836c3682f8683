"""The fine stage that draws: codes 1 to 7 of a frame, each from the model's hidden state and the codes before it.

The paper stops at the coarse code. Here a small network continues within the frame, codebook by codebook. Its input is
the sum of the codec's frozen entries so far, as the decoder adds them: the latent as far as it is known. Its logits are
products with the entries of the next codebook.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whispergpt.engine.config import CODEBOOK_SIZE, FineConfig
from whispergpt.engine.model.sampling import draw


class DrawnLevel(nn.Module):
    """The layers for one codebook: the frame's context and its latent so far in, logits of this codebook out."""

    def __init__(self, config: FineConfig) -> None:
        super().__init__()
        self.latent = nn.Linear(config.dimension, config.width)
        self.up = nn.Linear(config.width, config.width)
        self.query = nn.Linear(config.width, config.dimension)
        self.bias = nn.Parameter(torch.zeros(CODEBOOK_SIZE))

    def forward(self, context: Tensor, latent: Tensor, entries: Tensor) -> Tensor:
        """``[..., width]``, ``[..., dimension]`` and the codebook ``[1024, dimension]`` → logits ``[..., 1024]``."""
        x = F.gelu(context + self.latent(latent))
        x = x + F.gelu(self.up(x))
        return F.linear(self.query(x), entries, self.bias)


class DrawnStage(nn.Module):
    """Levels for codebooks 1 to K - 1, and the context that they share: hidden state and last frame's latent."""

    def __init__(self, config: FineConfig, hidden_width: int) -> None:
        super().__init__()
        self.config = config
        self.hidden = nn.Linear(hidden_width, config.width, bias=False)
        self.previous = nn.Linear(config.dimension, config.width, bias=False)
        self.levels = [DrawnLevel(config) for _ in range(config.n_codebooks - 1)]
        self.stages = nn.ModuleList(self.levels)

    def context(self, hidden: Tensor, previous: Tensor) -> Tensor:
        """Return the context that all levels share, ``[..., width]``.

        Args:
            hidden: the model's states that predict a frame, ``[..., hidden_width]``.
            previous: the latents of the frame before it, ``[..., dimension]``.
        """
        return self.hidden(hidden) + self.previous(previous)

    def forward(self, hidden: Tensor, previous: Tensor, codes: Tensor, codebooks: list[Tensor]) -> Tensor:
        """Read all codes ``[..., K]`` (teacher-forced) → logits ``[..., K - 1, 1024]`` of codes 1 to K - 1."""
        context = self.context(hidden, previous)
        latent = F.embedding(codes[..., 0], codebooks[0])
        logits = []
        for k, level in enumerate(self.levels, start=1):
            logits.append(level(context, latent, codebooks[k]))
            latent = latent + F.embedding(codes[..., k], codebooks[k])
        return torch.stack(logits, dim=-2)

    def draw(
        self,
        hidden: Tensor,
        previous: Tensor,
        coarse: Tensor,
        codebooks: list[Tensor],
        seed: Tensor,
        frame: Tensor,
        temperature: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Draw the frame's other codes.

        Args:
            coarse: ``[B]``; ``seed``, ``frame`` and ``temperature`` likewise, the last that of the coarse code: where
                it is 0 the likeliest codes are taken, else the stage's own temperature holds.

        Returns:
            All codes ``[B, K]`` and the frame's latent ``[B, dimension]``.
        """
        context = self.context(hidden, previous)
        own = torch.where(temperature > 0, self.config.temperature, 0.0)
        latent, codes = F.embedding(coarse, codebooks[0]), [coarse]
        for k, level in enumerate(self.levels, start=1):
            codes.append(draw(level(context, latent, codebooks[k]), seed, frame, own, k))
            latent = latent + F.embedding(codes[-1], codebooks[k])
        return torch.stack(codes, dim=-1), latent
