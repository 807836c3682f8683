"""Models of the bench: the installed one, or the full-size codec with a 4M hybrid and a fine stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.checkpoints.checkpoint import LoadedModel, load_model
from whispergpt.engine.checkpoints.encodec_weights import CHECKPOINT, load_encodec
from whispergpt.engine.checkpoints.installed import installed_models
from whispergpt.engine.checkpoints.user_cache import user_cache
from whispergpt.engine.config import ENCODEC_24KHZ, FRAME_RATE, HOP, HYBRID, SAMPLE_RATE, FineConfig, SamplingDefaults
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.whisper_gpt import WhisperGPT

Preset = Literal["default", "encodec_24khz"]

LOUDNESS = 0.1
"""Root mean square that the output of a codec with random weights is scaled to."""


def build_preset(preset: Preset, device: torch.device) -> LoadedModel:
    """Return the model of a preset.

    Raises:
        ModelError: no model is installed (``default``).
        WeightsError: the official weights are present but damaged (``encodec_24khz``).
    """
    if preset == "default":
        return load_model((installed_models() or ["speech"])[0], device)
    torch.manual_seed(0)
    codec, origin = _full_size_codec()
    model = WhisperGPT(replace(HYBRID, fine=FineConfig()))
    # Rounded as a saved model is, whose file has half precision; published codec weights have single precision.
    model.load_state_dict({name: weight.half().float() for name, weight in model.state_dict().items()})
    step = FrameStep(codec, model).eval().requires_grad_(False).to(device)
    return LoadedModel("encodec_24khz", step, SamplingDefaults(), "not to be distributed", origin)


def prompt_audio(step: FrameStep, seconds: float | None = None) -> Samples:
    """Return noise of varying loudness, float32 ``[n]``; by default it is long enough to fill every KV ring."""
    stack = step.model.config.stack
    frames = round(seconds * FRAME_RATE) if seconds else stack.window + FRAME_RATE // 2
    draw = torch.Generator().manual_seed(1)
    loudness = 0.2 * torch.rand(frames, 1, generator=draw) ** 2
    samples = (loudness * torch.randn(frames, HOP, generator=draw)).flatten()
    assert len(samples) <= 60 * SAMPLE_RATE
    audio: Samples = samples.numpy()
    return audio


def _full_size_codec() -> tuple[Codec, str]:
    """Return the full-size codec and its origin: official weights if the cache has them, else random ones."""
    if (user_cache() / CHECKPOINT).exists():
        return load_encodec(), "official"
    codec = Codec(ENCODEC_24KHZ).eval()
    with torch.no_grad():
        for depth, entries in enumerate(codec.quantizer.entries):
            entries.mul_(0.7**depth)  # finer codebooks contribute less
        draw = torch.Generator().manual_seed(2)
        said = codec.decode(torch.randint(1024, (1, codec.config.n_codebooks, FRAME_RATE), generator=draw))
        last = list(codec.decoder.model)[-1]
        weight = next(p for name, p in last.named_parameters() if name.endswith("weight"))
        weight.mul_(LOUDNESS / float((said - said.mean()).square().mean().sqrt()))
    return codec, "random"
