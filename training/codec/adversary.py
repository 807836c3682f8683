"""The adversary of a codec: discriminators at several scales, and the losses on both sides (EnCodec, section 3.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whispergpt.training.codec.discriminator import SpectrumDiscriminator

WINDOWS = (2048, 1024, 512)
"""Window lengths in samples: long windows resolve pitch, short ones onsets."""
FILTERS = 8
"""Channels of each layer, a quarter of EnCodec's; on a CPU this costs as much as the decoder."""


class Adversary(nn.Module):
    """Discriminators that tell recordings from a codec's output."""

    def __init__(self, windows: tuple[int, ...] = WINDOWS, filters: int = FILTERS) -> None:
        super().__init__()
        self.scales = nn.ModuleList(SpectrumDiscriminator(window, filters) for window in windows)

    def own_loss(self, made: Tensor, recorded: Tensor) -> Tensor:
        """Return the discriminators' hinge loss, a scalar, for ``[B, samples]`` each."""
        loss = made.new_zeros(())
        for scale in self.scales:
            loss = loss + F.relu(1 - scale(recorded)[0]).mean() + F.relu(1 + scale(made.detach())[0]).mean()
        return loss / len(self.scales)

    def losses(self, made: Tensor, recorded: Tensor) -> dict[str, Tensor]:
        """Return the codec's losses for ``[B, samples]`` each: ``adversarial``, the hinge loss, and ``features``, the
        difference of the discriminators' layers, relative to the recording's."""
        adversarial, features, layers = made.new_zeros(()), made.new_zeros(()), 0
        for scale in self.scales:
            with torch.no_grad():
                _, wanted = scale(recorded)
            verdict, found = scale(made)
            adversarial = adversarial + F.relu(1 - verdict).mean() / len(self.scales)
            for a, b in zip(found, wanted, strict=True):
                features = features + (a - b).abs().mean() / b.abs().mean()
            layers += len(wanted)
        return {"adversarial": adversarial, "features": features / layers}
