"""Residual vector quantisation (arXiv 2107.03312, algorithm 1): each codebook quantises the error of those before."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whispergpt.engine.config import CODEBOOK_SIZE

TRAINING_ONLY = ("inited", "cluster_size", "embed_avg")
"""Buffers of a codebook that inference does not read, and that model files leave out."""


class Codebook(nn.Module):
    """Entries ``embed`` ``[1024, dimension]``; the other buffers are EnCodec's running averages, used in training."""

    embed: Tensor
    embed_avg: Tensor
    cluster_size: Tensor
    inited: Tensor

    def __init__(self, dimension: int, size: int = CODEBOOK_SIZE) -> None:
        super().__init__()
        self.register_buffer("inited", torch.zeros(1))
        self.register_buffer("cluster_size", torch.zeros(size))
        self.register_buffer("embed", torch.randn(size, dimension))
        self.register_buffer("embed_avg", torch.zeros(size, dimension))
        self._packed: Tensor | None
        self.register_buffer("_packed", None, persistent=False)

    def pack(self) -> None:
        """Keep the squared lengths of the entries, which ``encode`` needs, from now on."""
        self._packed = self._squares()

    def _squares(self) -> Tensor:
        """Return each entry's squared length ``[1024]``."""
        return self.embed.t().pow(2).sum(0) if self._packed is None else self._packed

    def encode(self, x: Tensor) -> Tensor:
        """Find the index of the nearest entry: ``[..., dimension]`` → ``[...]`` int64."""
        flat = x.reshape(-1, x.shape[-1])
        # The order of these sums is EnCodec's, so that near ties fall the same way.
        distance = flat.pow(2).sum(1, keepdim=True) - 2 * flat @ self.embed.t() + self._squares()
        return distance.argmin(dim=-1).view(x.shape[:-1])

    def decode(self, codes: Tensor) -> Tensor:
        """``[...]`` → ``[..., dimension]``."""
        return F.embedding(codes, self.embed)


class ResidualVectorQuantizer(nn.Module):
    """Codebooks from coarse to fine."""

    def __init__(self, dimension: int, n_codebooks: int) -> None:
        super().__init__()
        self.codebooks = [Codebook(dimension) for _ in range(n_codebooks)]
        # EnCodec's names for them: ``vq.layers.0._codebook.embed``.
        layers = nn.ModuleList(nn.ModuleDict({"_codebook": codebook}) for codebook in self.codebooks)
        self.vq = nn.ModuleDict({"layers": layers})

    @property
    def entries(self) -> list[Tensor]:
        """Return each codebook's entries ``[1024, dimension]``."""
        return [codebook.embed for codebook in self.codebooks]

    def encode(self, latents: Tensor) -> Tensor:
        """``[B, dimension, T]`` → codes ``[B, n_codebooks, T]``."""
        return torch.stack(self.nearest(latents.transpose(1, 2)), dim=1)

    def nearest(self, residual: Tensor, first: int = 0) -> list[Tensor]:
        """Find the codes of the codebooks from ``first`` on: ``[..., dimension]`` → for each codebook ``[...]``."""
        codes = []
        for codebook in self.codebooks[first:]:
            index = codebook.encode(residual)
            residual = residual - codebook.decode(index)
            codes.append(index)
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes of the first K codebooks ``[B, K, T]`` → latents ``[B, dimension, T]``."""
        total = self.codebooks[0].decode(codes[:, 0])
        for k in range(1, codes.shape[1]):
            total = total + self.codebooks[k].decode(codes[:, k])
        return total.transpose(1, 2)
