"""Whole recordings in chunks: what the codec gives them at once, by kernels and by torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.audio import speech
from tests.support.kernels import kernels_expected
from whispergpt.engine.backends.offline import CHUNK_FRAMES, KERNEL_FRAMES, OfflineCodec
from whispergpt.engine.config import HOP, SMALL_CODEC, CodecConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.native.library import NativeError
from whispergpt.training.codec.start import keep_variance


def codec_of(config: CodecConfig) -> Codec:
    torch.manual_seed(0)
    codec = Codec(config).eval().requires_grad_(False)
    keep_variance(codec)
    spread = codec.encoder(audio(2 * 24_000)[None, None]).std()
    for k, codebook in enumerate(codec.quantizer.codebooks):
        codebook.embed.mul_(0.3 * 0.8**k * spread)
    return codec


def audio(samples: int) -> Tensor:
    return torch.from_numpy(speech(samples / 24_000 + 0.1)[:samples])


@pytest.fixture(scope="module", params=["constant", "reflect"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return codec_of(replace(SMALL_CODEC, pad_mode=request.param))


@pytest.mark.parametrize("samples", [1, 5 * HOP, (2 * KERNEL_FRAMES + 3) * HOP + 7, (CHUNK_FRAMES + 20) * HOP])
@torch.inference_mode()
def test_the_same_as_at_once(codec: Codec, samples: int) -> None:
    offline = OfflineCodec(codec)
    frames = -(-samples // HOP)
    found = offline.encode(audio(samples))
    assert found.shape == (8, frames)
    if frames >= codec.config.frames_to_prime:
        padded = torch.nn.functional.pad(audio(samples), (0, frames * HOP - samples))
        assert (found == codec.encode(padded[None, None])[0]).float().mean() > 0.99, "near ties may fall either way"
    for books in (1, 8):
        heard = offline.decode(found[:books])
        assert heard.shape == (frames * HOP,)
        if frames >= codec.config.frames_to_prime:
            wanted = codec.decode(found[None, :books])[0, 0]
            torch.testing.assert_close(heard, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.skipif(not kernels_expected(), reason="no compiler, or a processor without kernels")
def test_kernels_do_the_work_where_they_can() -> None:
    assert OfflineCodec(codec_of(SMALL_CODEC))._weights is not None


def test_without_a_compiler_torch_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none(level: str | None = None) -> None:
        raise NativeError("there is no compiler")

    monkeypatch.setattr("whispergpt.engine.native.check.load_library", none)
    offline = OfflineCodec(codec_of(SMALL_CODEC))
    assert offline._weights is None and offline.encode(audio(8_000)).shape == (8, 25)
