"""A loaded model with other weights: no longer the one that was loaded, and with a digest of its own."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.whisper_gpt import WhisperGPT


def with_weights(loaded: LoadedModel, model: WhisperGPT, made_of: str) -> LoadedModel:
    """Return ``loaded`` with ``model`` on its codec and its device; the rest stays, but for the hub's revision.

    Args:
        made_of: what the weights were made of, in full: the digest is of this text.
    """
    device = next(loaded.step.model.parameters()).device
    step = FrameStep(loaded.step.plain_codec, model).eval().requires_grad_(False).to(device)
    return replace(loaded, step=step, digest=hashlib.sha256(made_of.encode()).hexdigest()[:8], revision=None)
