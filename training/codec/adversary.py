"""The adversary of a codec: discriminators at several scales, and the losses on both sides (EnCodec, section 3.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from whispergpt.training.codec.losses import compress

WINDOWS = (2048, 1024, 512)
"""Window lengths in samples: long windows resolve pitch, short ones onsets."""
FILTERS = 8
"""Channels of each layer, a quarter of EnCodec's; on a CPU this costs as much as the decoder."""
DILATIONS = (1, 2, 4)
SLOPE = 0.2


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


class SpectrumDiscriminator(nn.Module):
    """Convolutions over the real and imaginary parts of a compressed spectrum (EnCodec, figure 2).

    Without compression the loudest bins dominate: after 200 steps the discriminator could not tell a codec from a
    recording (measured).

    Args:
        window: length of the spectrum's window in samples; the hop is a quarter of it.
        filters: channels of every layer.
    """

    shape: Tensor

    def __init__(self, window: int, filters: int) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("shape", torch.hann_window(window), persistent=False)
        self.layers = nn.ModuleList([_convolution(2, filters, (3, 9))])
        self.layers.extend(_convolution(filters, filters, (3, 9), (1, 2), (d, 1)) for d in DILATIONS)
        self.layers.append(_convolution(filters, filters, (3, 3)))
        self.last = _convolution(filters, 1, (3, 3))

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return scores of places in the spectrum ``[B, 1, T, bins / 8]`` and each layer's features
        ``[B, filters, T, ...]``, for audio ``[B, samples]``; scores are high for recordings."""
        spectrum = torch.stft(
            audio, self.window, self.window // 4, window=self.shape, normalized=True, return_complex=True
        )
        x = compress(spectrum)[0].permute(0, 3, 2, 1)  # [B, 2, T, bins]
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return self.last(x), features


def _convolution(
    inputs: int,
    outputs: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
) -> nn.Module:
    """Return a convolution over time and frequency, padded so that only the stride shrinks its input."""
    padding = ((kernel[0] - 1) * dilation[0] // 2, (kernel[1] - 1) * dilation[1] // 2)
    return weight_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation))
