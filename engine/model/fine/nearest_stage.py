"""The fine stage that does not draw: codes 1 to 7 of a frame are those nearest to the latent that the model expects.

What no model can know of a frame, above all its phases, drawn codes make up anew in every frame. The mean of all that
the frame's latent can be has nothing made up, and a decoder can learn to sound from it (``train codec --drawn-by``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whispergpt.engine.config import FineConfig
from whispergpt.engine.model.quantizer import ResidualVectorQuantizer


class NearestStage(nn.Module):
    """The layers of the estimate: the model's state and the coarse code's entry in, the rest of the latent out."""

    def __init__(self, config: FineConfig, hidden_width: int) -> None:
        super().__init__()
        self.config = config
        self.hidden = nn.Linear(hidden_width, config.width, bias=False)
        self.coarse = nn.Linear(config.dimension, config.width)
        self.up = nn.Linear(config.width, config.width)
        self.rest = nn.Linear(config.width, config.dimension)
        self.dropout = nn.Dropout(0.0)  # for training alone, which sets its probability

    def forward(self, hidden: Tensor, entry: Tensor) -> Tensor:
        """Estimate the sum of the finer codes' entries ``[..., dimension]``.

        Args:
            hidden: the model's states that predict a frame, ``[..., hidden_width]``.
            entry: the entries of the frame's coarse codes, ``[..., dimension]``.
        """
        x = self.dropout(F.gelu(self.hidden(hidden) + self.coarse(entry)))
        x = self.dropout(x + F.gelu(self.up(x)))
        rest: Tensor = self.rest(x)
        return rest

    def find(self, hidden: Tensor, coarse: Tensor, quantizer: ResidualVectorQuantizer) -> Tensor:
        """Return all codes ``[B, K]`` of frames with the coarse codes ``[B]``, for states ``[B, hidden_width]``."""
        rest = self(hidden, F.embedding(coarse, quantizer.entries[0]))
        return torch.stack([coarse, *quantizer.nearest(rest, first=1)], dim=-1)
