"""Round trips of audio through a codec, with the number of bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.config import CODEBOOK_SIZE, FRAME_RATE, SAMPLE_RATE
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import to_int16

BITS_PER_CODE = CODEBOOK_SIZE.bit_length() - 1
KBPS_PER_CODEBOOK = FRAME_RATE * BITS_PER_CODE / 1000


def codebooks_at(kbps: float, codec: Codec) -> int:
    """Return the number of a codec's codebooks that make up a rate.

    Raises:
        ValueError: no number of codebooks does.
    """
    books, most = round(kbps / KBPS_PER_CODEBOOK), codec.config.n_codebooks
    if not 1 <= books <= most or abs(books * KBPS_PER_CODEBOOK - kbps) > 1e-6:
        rates = ", ".join(f"{k * KBPS_PER_CODEBOOK:g}" for k in range(1, most + 1))
        raise ValueError(f"--kbps must be one of {rates}, not {kbps:g}")
    return books


@dataclass(frozen=True)
class RoundTripResult:
    """Decoded samples, float32 ``[n]`` at 24 kHz, as long as the input, and the measured payload in kbit/s."""

    samples: Samples
    payload_kbps: float


class CodecRoundTrip:
    """A trained codec with as many codebooks as make up ``kbps``.

    Raises:
        ValueError: no number of its codebooks does.
    """

    def __init__(self, codec: Codec, kbps: float) -> None:
        self._codec, self._books = OfflineCodec(codec), codebooks_at(kbps, codec)
        self.name = f"codec {kbps:g}"

    def __call__(self, audio: Samples) -> RoundTripResult:
        """Encode and decode samples ``[n]`` at 24 kHz."""
        codes = self._codec.encode(torch.from_numpy(audio))[: self._books]
        decoded = self._codec.decode(codes)[: len(audio)]
        bits = codes.numel() * BITS_PER_CODE
        return RoundTripResult(as_heard(to_int16(decoded).numpy()), bits / (len(audio) / SAMPLE_RATE) / 1000)


def as_heard(samples: np.ndarray[tuple[int, ...], np.dtype[np.int16]]) -> Samples:
    """Return 16-bit samples ``[n]`` as float32 in -1…1."""
    return samples.astype(np.float32) / 32768.0


def in_16_bits(samples: Samples) -> Samples:
    """Return samples ``[n]`` rounded to 16 bits and clipped at full scale, as a listener's device gets them."""
    return (np.clip(samples * 32768.0, -32768, 32767).round() / 32768.0).astype(np.float32)
