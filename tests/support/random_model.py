"""A small hybrid with random weights and the small codec: all that a model has, in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from whispergpt.engine.checkpoints.checkpoint import LoadedModel, save_model
from whispergpt.engine.config import HYBRID, SMALL_CODEC, FineConfig, SamplingDefaults, StackConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.whisper_gpt import WhisperGPT


def random_model(seed: int, fine: FineConfig | None) -> LoadedModel:
    """Return a model of two layers, in float32; the same seed gives the same weights."""
    torch.manual_seed(seed)
    config = replace(HYBRID, stack=StackConfig(256, 2, 4, 1, 256, 64), fine=fine)
    step = FrameStep(Codec(SMALL_CODEC), WhisperGPT(config)).eval().requires_grad_(False)
    return LoadedModel("random", step, SamplingDefaults(), "unknown", "00000000")


def saved(model: LoadedModel, folder: Path) -> Path:
    """Write a model to a folder, and return the folder."""
    save_model(folder, model.step.model, model.step.plain_codec, model.defaults, model.licence)
    return folder
