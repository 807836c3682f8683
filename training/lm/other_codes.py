"""A trained model that goes on with another codec, whose codes begin as the former ones of the same frames."""

from __future__ import annotations

from dataclasses import replace

import torch

from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.config import ModelConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.fine.drawn_stage import DrawnStage
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.codec.drawn_codes import have_same_codes
from whispergpt.training.lm.start import start_from_frequencies
from whispergpt.training.tokens.code_pairs import Pairs
from whispergpt.training.tokens.tokens import Tokens, code_digest, digest_of

LEAST = 1.0
"""Frames that each new code is taken to share with the former codes together, in proportion to their frequencies."""


def config_on(model: LoadedModel, codec: Codec) -> ModelConfig:
    """Return a model's configuration for the codes of ``codec``, without a decoder of its own.

    Raises:
        ValueError: the model has these codes already.
    """
    if have_same_codes(codec, model.step.plain_codec):
        raise ValueError(f"{model.id} has the codes of this codec already: leave out --codec to go on with it")
    config = model.step.model.config
    fine, sizes = config.fine, codec.config
    if fine is not None:
        fine = replace(fine, n_codebooks=sizes.n_codebooks, dimension=sizes.dimension)
    return replace(config, fine=fine, decoder=None)


@torch.no_grad()
def on_codec(model: LoadedModel, codec: Codec, pairs: Pairs, train: list[Tokens]) -> LoadedModel:
    """Return ``model`` on the codes of ``codec``.

    The embedding of a coarse code and its row of the head begin as the means of those of the former codes, weighted by
    the frames that they share. The fine stage begins anew, and a decoder of the model's own is left out: both are for
    the former codes.

    Args:
        pairs: frames by their new codes (rows) and their former ones, ``[1024, 1024]``.
        train: tokens of the new codes, by whose frequencies a fine stage begins.
    """
    old, device = model.step.model, next(model.step.model.parameters()).device
    new = WhisperGPT(config_on(model, codec))
    weights = {name: own for name, own in new.state_dict().items() if name.startswith("fine.")}
    kept = {name: weight for name, weight in old.state_dict().items() if not name.startswith(("fine.", "decoder."))}
    counts = torch.from_numpy(pairs).double()
    counts += LEAST * (counts.sum(0) + 1) / (counts.sum() + counts.shape[1])
    shares = (counts / counts.sum(1, keepdim=True)).float().to(device)
    for name in ("code_embedding.weight", "head.weight"):
        kept[name] = shares @ kept[name]
    new.load_state_dict({**kept, **weights})
    if isinstance(new.fine, DrawnStage):
        start_from_frequencies(new.fine, train)
    step = FrameStep(codec, new).eval().requires_grad_(False).to(device)
    digest = digest_of(kept, model.digest, code_digest(codec))[:8]
    return replace(model, step=step, digest=digest, revision=None)
