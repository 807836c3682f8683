"""Whole recordings through the codec in bounded memory: the streaming modules, chunk by chunk, on one slot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.codec import Codec
from engine.config import HOP

CHUNK_FRAMES = 750
"""Frames at once: ten seconds."""


def encode_in_chunks(codec: Codec, audio: Tensor) -> Iterator[Tensor]:
    """Audio ``[n]`` at 24 kHz → codes ``[K, T]``, T up to 750, the last frame filled up with silence."""
    state = codec.init_encoder_state(1, audio.device)
    whole = F.pad(audio, (0, -len(audio) % HOP))
    for index, chunk in enumerate(_split(whole, codec.config.frames_to_prime)):
        with torch.inference_mode():
            codes = codec.encode_step(chunk[None, None], state, cold=index == 0)[0]
        yield codes


def decode_in_chunks(codec: Codec, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
    """Codes of the first k codebooks ``[k, T]``, in turn → audio ``[T·320]``."""
    state = codec.init_decoder_state(1, torch.device("cpu"))
    for index, codes in enumerate(chunks):
        with torch.inference_mode():
            audio = codec.decode_step(codes[None], state, cold=index == 0)[0, 0]
        yield audio


def _split(audio: Tensor, least_frames: int) -> tuple[Tensor, ...]:
    """Chunks of 750 frames; the first is filled up with silence to the frames that the codec needs to start."""
    missing = max(0, least_frames * HOP - len(audio))
    return F.pad(audio, (0, missing)).split(CHUNK_FRAMES * HOP)
