"""Scores of a codec on held-out crops during its training."""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.engine.config import CODEBOOK_SIZE
from whispergpt.engine.model.codec import Codec
from whispergpt.training.codec.losses import ReconstructionLoss


@torch.inference_mode()
def check_codec(codec: Codec, audio: Tensor, loss_of: ReconstructionLoss, quantized: bool) -> dict[str, float]:
    """Return losses and signal-to-noise ratio on ``[N, samples]`` with all codebooks and with one, and perplexity."""
    if not quantized:
        return _scores("unquantized", codec.decoder(codec.encoder(audio[:, None]))[:, 0], audio, loss_of)
    codes = codec.encode(audio[:, None])
    result: dict[str, float] = {}
    for k in (1, codec.config.n_codebooks):
        result |= _scores(f"{k}", codec.decode(codes[:, :k])[:, 0], audio, loss_of)
    for k in (0, codec.config.n_codebooks - 1):
        p = torch.bincount(codes[:, k].flatten(), minlength=CODEBOOK_SIZE).float() / codes[:, k].numel()
        result[f"perplexity_{k}"] = float(torch.exp(-(p * (p + 1e-12).log()).sum()))
    return result


def _scores(name: str, output: Tensor, audio: Tensor, loss_of: ReconstructionLoss) -> dict[str, float]:
    terms = loss_of(output, audio)
    noise = (output - audio).square().sum(-1) / audio.square().sum(-1).add(1e-6)
    ratio = -10 * torch.log10(noise.clamp(min=1e-6)).mean()
    return {
        f"heldout_{name}": float(terms["total"]),
        f"mel_{name}": float(terms["mel"]),
        f"snr_db_{name}": float(ratio),
    }
