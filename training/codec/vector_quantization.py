"""Training of the codebooks: k-means, running averages, replaced dead codes (arXiv 2107.03312, section III-C)."""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.engine.model.quantizer import Codebook, ResidualVectorQuantizer

DECAY = 0.99
REVIVE_BELOW = 0.1
"""Vectors in a step, on the running average, below which a code is moved onto a random vector."""


@torch.no_grad()
def start_from_kmeans(
    quantizer: ResidualVectorQuantizer, vectors: Tensor, iterations: int = 20, count: float = 1.0
) -> None:
    """Set every codebook by k-means of the residuals of ``vectors`` ``[N, dimension]`` after the codebooks before it.

    ``count``: see ``go_on_from_entries``.
    """
    residual = vectors
    for codebook in quantizer.codebooks:
        size = codebook.embed.shape[0]
        centres = residual[torch.randperm(len(residual), device=residual.device)[:size]].clone()
        for _ in range(iterations):
            nearest = torch.cdist(residual, centres).argmin(dim=1)
            counts = torch.bincount(nearest, minlength=size)
            sums = torch.zeros_like(centres).index_add_(0, nearest, residual)
            empty = counts == 0
            centres = torch.where(empty[:, None], centres, sums / counts.clamp(min=1)[:, None])
            others = torch.randint(len(residual), (int(empty.sum()),), device=residual.device)
            centres[empty] = residual[others]
        codebook.embed.copy_(centres)
        go_on_from_entries(codebook, count)
        residual = residual - codebook.decode(codebook.encode(residual))


@torch.no_grad()
def go_on_from_entries(codebook: Codebook, count: float = 1.0) -> None:
    """Start the running averages from the current entries, as if each got ``count`` vectors in a step."""
    codebook.cluster_size.fill_(count)
    codebook.embed_avg.copy_(codebook.embed * count)
    codebook.inited.fill_(1.0)


def quantize_for_training(
    quantizer: ResidualVectorQuantizer, latents: Tensor, used: Tensor, learn: bool = True
) -> tuple[Tensor, Tensor]:
    """Quantise with a straight-through gradient and, with ``learn``, update the codebooks.

    Args:
        latents: ``[B, dimension, T]``.
        used: ``[B]`` int64, number of codebooks that each item is decoded from (codebook dropout).

    Returns:
        Quantised latents ``[B, dimension, T]`` and the commitment loss, a scalar: squared errors relative to the
        latents' own variance, so that shrinking does not lower it.
    """
    x = latents.transpose(1, 2)
    residual = x
    total = torch.zeros_like(x)
    commitment = x.new_zeros(())
    variance = x.var()
    for k, codebook in enumerate(quantizer.codebooks):
        on = (used > k).view(-1, 1, 1)
        with torch.no_grad():
            index = codebook.encode(residual)
            quantized = codebook.decode(index)
            if learn:  # from every item, whether it decodes from this codebook or not
                _update(codebook, residual.reshape(-1, x.shape[-1]), index.reshape(-1))
        commitment = commitment + ((residual - quantized) * on).pow(2).mean() / variance
        total = total + quantized * on
        residual = residual - quantized
    return (x + (total - x).detach()).transpose(1, 2), commitment


def _update(codebook: Codebook, vectors: Tensor, index: Tensor) -> None:
    """Add the vectors of one step to a codebook's averages, without reading values on the host, as graphs require."""
    size = codebook.embed.shape[0]
    counts = vectors.new_zeros(size).index_add_(0, index, vectors.new_ones(len(index)))
    sums = torch.zeros_like(codebook.embed).index_add_(0, index, vectors)
    codebook.cluster_size.lerp_(counts, 1 - DECAY)
    codebook.embed_avg.lerp_(sums, 1 - DECAY)
    dead = codebook.cluster_size < REVIVE_BELOW * len(vectors) / size
    revived = vectors[torch.randint(len(vectors), (size,), device=vectors.device)]
    share = vectors.new_full((), len(vectors) / size)
    codebook.cluster_size.copy_(torch.where(dead, share, codebook.cluster_size))
    codebook.embed_avg.copy_(torch.where(dead[:, None], revived * share, codebook.embed_avg))
    codebook.embed.copy_(codebook.embed_avg / codebook.cluster_size[:, None])
