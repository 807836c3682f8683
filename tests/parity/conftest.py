"""EnCodec's own modules with random weights, and our codec with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from whispergpt.engine.checkpoints.encodec_reference import import_encodec
from whispergpt.engine.checkpoints.encodec_weights import fold_weight_norm
from whispergpt.engine.config import ENCODEC_24KHZ, HOP, CodecConfig
from whispergpt.engine.model.codec import Codec

Pair = tuple[Any, Codec]


def reference_pair(config: CodecConfig, n_codebooks: int = 8, seed: int = 0) -> Pair:
    """An ``EncodecModel`` of this size with so many codebooks, and a ``Codec`` that holds its weights."""
    encodec = import_encodec()
    from encodec import modules, quantization

    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"n_filters": config.n_filters, "pad_mode": config.pad_mode}
    sizes |= {"norm": "weight_norm", "causal": True}
    reference = encodec.EncodecModel(
        modules.SEANetEncoder(**sizes),
        modules.SEANetDecoder(**sizes),
        quantization.ResidualVectorQuantizer(dimension=config.dimension, n_q=n_codebooks, bins=1024),
        target_bandwidths=[1.5, 3.0, 6.0],
        sample_rate=24_000,
        channels=1,
    ).eval()
    spread_codebooks(reference)
    reference.set_target_bandwidth(6.0)
    codec = Codec(config).eval()
    weights = fold_weight_norm(reference.state_dict())
    codec.load_state_dict({key: weights[key] for key in codec.state_dict()})
    return reference, codec


def spread_codebooks(reference: Any) -> None:
    """Entries that random audio really comes near, so that many are used; a louder decoder."""
    with torch.no_grad():
        # A random decoder whispers, and a difference of 1e-5 would mean little.
        reference.decoder.model[-1].conv.conv.weight_g.mul_(10)
        latents = reference.encoder(_varied(60))[0].t()
    for depth, layer in enumerate(reference.quantizer.vq.layers):
        entries = torch.randn(1024, latents.shape[1]) * latents.std() * 0.3 * 0.8**depth
        if depth == 0:
            entries += latents[torch.randint(len(latents), (1024,))]
        layer._codebook.embed.copy_(entries)
        layer._codebook.inited.fill_(1)


def _varied(frames: int) -> Tensor:
    """Noise whose loudness and colour wander: ``[1, 1, frames * 320]``."""
    noise = torch.randn(1, 1, frames * HOP)
    loudness = torch.rand(1, 1, frames).repeat_interleave(HOP, -1) ** 2
    colour = torch.rand(1, 1, frames).repeat_interleave(HOP, -1)
    return loudness * (colour * noise + (1 - colour) * torch.sin(noise.cumsum(-1) / 10))


@pytest.fixture(scope="session")
def pair() -> Callable[[int, str], Pair]:
    """``pair(n_filters, pad_mode)``, made once for all tests."""
    made: dict[tuple[int, str], Pair] = {}

    def get(n_filters: int, pad_mode: str) -> Pair:
        key = (n_filters, pad_mode)
        if key not in made:
            config = replace(ENCODEC_24KHZ, n_filters=n_filters, pad_mode=pad_mode)  # type: ignore[arg-type]
            made[key] = reference_pair(config)
        return made[key]

    return get


@pytest.fixture(scope="session")
def varied_audio() -> Callable[[int], Tensor]:
    """``varied_audio(frames)``: noise whose loudness and colour wander, ``[1, 1, frames * 320]``."""
    return _varied
