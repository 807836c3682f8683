"""The mean of two models' weights: between two runs that began from the same weights it lies between both in sound."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.codec.drawn_codes import have_same_codes


def mean_of(first: LoadedModel, second: LoadedModel, share: float) -> LoadedModel:
    """Return a model whose weights are the mean of two models'; codec, defaults and licence are the first's.

    Args:
        share: of the second's weights, 0 to 1.

    Raises:
        ValueError: the two have other sizes or other codes.
    """
    if not have_same_codes(first.step.plain_codec, second.step.plain_codec):
        raise ValueError(f"{first.id} and {second.id} have not the same codes, so that their weights have no mean")
    one, other = first.step.model, second.step.model
    if one.config != other.config:
        raise ValueError(f"{first.id} and {second.id} have other sizes, so that their weights have no mean")
    model = WhisperGPT(one.config)
    theirs = other.state_dict()
    model.load_state_dict({name: weight.lerp(theirs[name], share) for name, weight in one.state_dict().items()})
    device = next(one.parameters()).device
    step = FrameStep(first.step.plain_codec, model).eval().requires_grad_(False).to(device)
    digest = hashlib.sha256(f"{first.digest} {second.digest} {share}".encode()).hexdigest()[:8]
    return replace(first, step=step, digest=digest)
