"""A discriminator of complex spectra at one time scale (EnCodec, arXiv 2210.13438, section 3.4 and figure 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from whispergpt.training.codec.losses import compress

DILATIONS = (1, 2, 4)
SLOPE = 0.2


class SpectrumDiscriminator(nn.Module):
    """Two-dimensional convolutions over the real and imaginary parts of a compressed spectrum.

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
