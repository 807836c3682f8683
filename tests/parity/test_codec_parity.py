"""Our codec against the ``encodec`` package, with the same random weights, in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from whispergpt.engine.model.codec import Codec

TOLERANCE = 1e-5
# Whole frames; not whole; shorter than the first convolution's padding (6); shorter than a frame.
LENGTHS = (320 * 7, 320, 5_123, 2_000, 321, 319, 100, 7, 6, 3, 1)
SIZES = [(32, "reflect"), (32, "constant"), (16, "reflect"), (16, "constant")]

Pairs = Callable[[int, str], tuple[Any, Codec]]


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


@pytest.mark.parametrize(("n_filters", "pad_mode"), SIZES)
@torch.inference_mode()
def test_encoder_equals_encodec(pair: Pairs, n_filters: int, pad_mode: str) -> None:
    reference, codec = pair(n_filters, pad_mode)
    for length in LENGTHS:
        audio = torch.randn(2, 1, length)
        expected = reference.encoder(audio)
        assert expected.shape[-1] == -(-length // 320)
        assert difference(codec.encoder(audio), expected) < TOLERANCE, length


@pytest.mark.parametrize(("n_filters", "pad_mode"), SIZES)
@torch.inference_mode()
def test_codes_equal_encodec(pair: Pairs, n_filters: int, pad_mode: str) -> None:
    reference, codec = pair(n_filters, pad_mode)
    for length in LENGTHS:
        latents = reference.encoder(torch.randn(2, 1, length))
        expected = reference.quantizer.encode(latents, 75, 6.0).transpose(0, 1)
        assert expected.shape[1] == 8
        assert torch.equal(codec.quantizer.encode(latents), expected), length
        dequantised = reference.quantizer.decode(expected.transpose(0, 1))
        assert difference(codec.quantizer.decode(expected), dequantised) < TOLERANCE, length


@pytest.mark.parametrize(("n_filters", "pad_mode"), SIZES)
@torch.inference_mode()
def test_audio_to_codes_equals_encodec(
    pair: Pairs, varied_audio: Callable[[int], Tensor], n_filters: int, pad_mode: str
) -> None:
    reference, codec = pair(n_filters, pad_mode)
    audio = varied_audio(60)[..., :-17]
    codes = codec.encode(audio)
    expected, scale = reference.encode(audio)[0]
    assert scale is None
    assert codes.unique().numel() > 100, "the codebooks of this test are too alike to tell codes apart"
    # Latents that differ by rounding may fall to another entry of equal distance; that is one frame in many.
    assert (codes == expected).float().mean() > 0.99


@pytest.mark.parametrize(("n_filters", "pad_mode"), SIZES)
@torch.inference_mode()
def test_decoder_equals_encodec(pair: Pairs, n_filters: int, pad_mode: str) -> None:
    reference, codec = pair(n_filters, pad_mode)
    for frames in (1, 2, 6, 7, 8, 20):
        codes = torch.randint(0, 1024, (2, 8, frames))
        expected = reference.decode([(codes, None)])
        assert expected.std() > 0.01, "too quiet to compare"
        assert difference(codec.decode(codes), expected) < TOLERANCE, frames


@torch.inference_mode()
def test_fewer_codebooks_decode_as_encodec_does(pair: Pairs) -> None:
    reference, codec = pair(16, "constant")
    codes = torch.randint(0, 1024, (1, 2, 12))
    assert difference(codec.decode(codes), reference.decode([(codes, None)])) < TOLERANCE
