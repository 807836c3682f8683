"""The adversary of a codec: discriminators at several scales, and the losses on both sides (EnCodec, section 3.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whispergpt.training.codec.discriminator import SpectrumDiscriminator

WINDOWS = (2048, 1024, 512)
"""In samples: long ones hear pitch, short ones onsets."""
FILTERS = 8
"""A quarter of EnCodec's: even so it costs a processor as much as the decoder that it teaches."""


class Adversary(nn.Module):
    """Tells recordings from what a codec made of them."""

    def __init__(self, windows: tuple[int, ...] = WINDOWS, filters: int = FILTERS) -> None:
        super().__init__()
        self.scales = nn.ModuleList(SpectrumDiscriminator(window, filters) for window in windows)

    def own_loss(self, made: Tensor, recorded: Tensor) -> Tensor:
        """The hinge loss that the discriminators learn from: ``[B, samples]`` each → a scalar."""
        loss = made.new_zeros(())
        for scale in self.scales:
            loss = loss + F.relu(1 - scale(recorded)[0]).mean() + F.relu(1 + scale(made.detach())[0]).mean()
        return loss / len(self.scales)

    def losses(self, made: Tensor, recorded: Tensor) -> dict[str, Tensor]:
        """What the codec learns from: ``adversarial``, the hinge, and ``features``, how far the discriminators' layers
        differ between the two, relative to the recording's."""
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
