"""Residual vector quantisation against a search by hand."""

from __future__ import annotations

import torch

from whispergpt.engine.model.quantizer import Codebook, ResidualVectorQuantizer


def quantizer(n_codebooks: int = 4, dimension: int = 16) -> ResidualVectorQuantizer:
    torch.manual_seed(0)
    made = ResidualVectorQuantizer(dimension, n_codebooks)
    for depth, codebook in enumerate(made.codebooks):
        codebook.embed.mul_(0.7**depth)
    return made


def test_each_codebook_takes_the_nearest_entry_to_what_is_left() -> None:
    rvq = quantizer()
    latents = torch.randn(2, 16, 9)
    codes = rvq.encode(latents)
    assert codes.shape == (2, 4, 9) and codes.dtype == torch.int64
    for batch in range(2):
        for t in range(9):
            left = latents[batch, :, t].double()
            for k, codebook in enumerate(rvq.codebooks):
                distances = (codebook.embed.double() - left).norm(dim=1)
                assert int(codes[batch, k, t]) == int(distances.argmin())
                left = left - codebook.embed[codes[batch, k, t]].double()


def test_more_codebooks_come_nearer() -> None:
    rvq = quantizer(8)
    latents = torch.randn(1, 16, 200)
    codes = rvq.encode(latents)
    errors = [float((rvq.decode(codes[:, :k]) - latents).pow(2).mean()) for k in range(1, 9)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 2


def test_decode_is_the_sum_of_entries() -> None:
    rvq = quantizer()
    codes = torch.randint(0, 1024, (2, 3, 5))
    decoded = rvq.decode(codes)
    assert decoded.shape == (2, 16, 5)
    expected = sum(rvq.codebooks[k].embed[codes[1, k, 4]] for k in range(3))
    assert torch.allclose(decoded[1, :, 4], expected, atol=1e-6)  # type: ignore[arg-type]


def test_an_entry_is_its_own_nearest() -> None:
    codebook = Codebook(16)
    indices = torch.randperm(1024)[:100].view(4, 25)
    assert torch.equal(codebook.encode(codebook.decode(indices)), indices)


def test_the_layout_is_encodecs() -> None:
    keys = set(quantizer(2).state_dict())
    buffers = ("inited", "cluster_size", "embed", "embed_avg")
    assert keys == {f"vq.layers.{k}._codebook.{name}" for k in range(2) for name in buffers}
