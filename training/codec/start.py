"""Start of a codec's training: weights that keep the signal's variance, and codebooks from real latents."""

from __future__ import annotations

import torch
from torch import nn

from whispergpt.engine.model.codec import Codec
from whispergpt.training.codec.vector_quantization import start_from_kmeans
from whispergpt.training.data.crops import Crops
from whispergpt.training.data.device_crops import DeviceCrops

KMEANS_BATCHES = 80


def keep_variance(codec: Codec) -> None:
    """Initialize every convolution so that its output has the variance of its input.

    PyTorch's default shrinks it at each of some twenty layers: the output starts at a thousandth of the input.
    Training then stayed on a plateau for over a thousand steps; this start left it within three hundred (measured).
    """
    for module in codec.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            taps = 2 if isinstance(module, nn.ConvTranspose1d) else module.kernel_size[0]
            nn.init.normal_(module.weight, std=(module.in_channels * taps) ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def start_codebooks(
    codec: Codec, crops: Crops | DeviceCrops, step: int, device: torch.device, count: float = 1.0
) -> None:
    """Scale the encoder's latents to unit spread and set the codebooks by k-means of those of random crops.

    ``count``: vectors that each entry will get in a step.
    """
    first = 2_000_000 + step  # crops that no training step uses
    latents = torch.cat([codec.encoder(crops.batch(first + i)[:, None].to(device)) for i in range(KMEANS_BATCHES)])
    spread = latents.std()
    last, first_again = _convolutions(codec.encoder)[-1], _convolutions(codec.decoder)[0]
    for weight in last.parameters():
        weight.div_(spread)
    first_again.weight.mul_(spread)
    vectors = (latents / spread).transpose(1, 2).reshape(-1, codec.config.dimension)
    start_from_kmeans(codec.quantizer, vectors, count=count)


def _convolutions(module: nn.Module) -> list[nn.Conv1d]:
    """Return the convolutions of an encoder or a decoder, in order."""
    return [m for m in module.modules() if isinstance(m, nn.Conv1d)]
