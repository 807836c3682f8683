"""A decoder for one model: it has learnt the codes that this model draws (``train codec --drawn-by``)."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.codec.drawn_codes import require_same_codes
from whispergpt.training.data.tokens import digest_of


def with_decoder(model: LoadedModel, codec: Codec) -> LoadedModel:
    """Return ``model`` with ``codec``'s decoder as its own; the model's codec keeps the one that it has.

    Raises:
        ValueError: ``codec`` has other codes than the model.
    """
    require_same_codes(codec, model.step.plain_codec)
    old = model.step.model
    device = next(old.parameters()).device
    new = WhisperGPT(replace(old.config, decoder=codec.config))
    decoder = {f"decoder.{name}": weight for name, weight in codec.decoder.state_dict().items()}
    new.load_state_dict({**old.state_dict(), **decoder})
    step = FrameStep(model.step.plain_codec, new).eval().requires_grad_(False).to(device)
    digest = hashlib.sha256(f"{model.digest} {digest_of(codec.decoder)}".encode()).hexdigest()[:8]
    return replace(model, step=step, digest=digest)
