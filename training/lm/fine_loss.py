"""Loss of the finer codes.

Drawn codes have a cross-entropy: of codebooks 1 to K - 1, each given the true codes before it. Nearest codes have the
squared error of what they add to the latent.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.fine.nearest_stage import NearestStage
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.tokens.token_crops import Batch


def fine_loss(model: WhisperGPT, codec: Codec, hidden: Tensor, batch: Batch, share: float) -> Tensor:
    """Return the loss of the finer codes on a random ``share`` of the frames; 0 without a fine stage.

    A stage that draws has the mean NLL of a code in nats. One of nearest codes has its squared error relative to the
    power of what the codes add: 1 for an estimate that is always zero.

    Args:
        hidden: the model's states ``[B, T, width]`` that predict the frames 1 to T of ``batch``.
    """
    if model.fine is None:
        return hidden.new_zeros(())
    chosen = batch.known & (torch.rand(batch.known.shape, device=hidden.device) < share)
    now = batch.codes[:, 1:][chosen]
    if isinstance(model.fine, NearestStage):
        return _squared_error(model.fine, codec, hidden[chosen], now)
    entries = codec.quantizer.entries
    previous = codec.quantizer.decode(batch.codes[:, :-1][chosen].t()[None])[0].t()
    logits = model.fine(hidden[chosen], previous, now, entries)
    return F.cross_entropy(logits.flatten(0, 1), now[:, 1:].flatten())


def _squared_error(stage: NearestStage, codec: Codec, hidden: Tensor, codes: Tensor) -> Tensor:
    """Return the relative error of the estimate for frames' ``codes`` ``[N, K]``."""
    entry = F.embedding(codes[:, 0], codec.quantizer.entries[0])
    rest = codec.quantizer.decode(codes.t()[None])[0].t() - entry
    return (rest - stage(hidden, entry)).square().sum() / rest.square().sum().clamp_min(1e-9)
