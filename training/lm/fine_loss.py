"""Loss of the finer codes: cross-entropy of codebooks 1 to K - 1, each given the true codes before it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.data.token_crops import Batch


def fine_loss(model: WhisperGPT, codec: Codec, hidden: Tensor, batch: Batch, share: float) -> Tensor:
    """Return the mean NLL in nats of a finer code, on a random ``share`` of the frames; 0 without a fine stage.

    Args:
        hidden: the model's states ``[B, T, width]`` that predict the frames 1 to T of ``batch``.
    """
    if model.fine is None:
        return hidden.new_zeros(())
    chosen = batch.known & (torch.rand(batch.known.shape, device=hidden.device) < share)
    entries = codec.quantizer.entries
    now, before = batch.codes[:, 1:][chosen], batch.codes[:, :-1][chosen]
    previous = codec.quantizer.decode(before.t()[None])[0].t()
    logits = model.fine(hidden[chosen], previous, now, entries)
    return F.cross_entropy(logits.flatten(0, 1), now[:, 1:].flatten())
