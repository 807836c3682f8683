"""The least arithmetic and the least memory traffic of one frame, counted from the modules' shapes.

Each multiply-add counts as two operations. Only the necessary products count: a transposed convolution computes each
output from two inputs, the filterbank uses its non-zero entries, and attention covers a full window. Activations,
norms, sampling and additions are left out, since they are a few per cent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log2, prod

import torch
from torch import Tensor, nn

from whispergpt.engine.config import CODEBOOK_SIZE, HOP, StackConfig
from whispergpt.engine.model.convolution import CausalConv1d, CausalConvTranspose1d, ResidualLSTM
from whispergpt.engine.model.fine.stage import FineStage
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.mel import CausalMel
from whispergpt.engine.model.seanet import Decoder
from whispergpt.engine.model.streaming import branch, state_bytes
from whispergpt.engine.model.whisper_gpt import WhisperGPT


def flops_per_frame(step: FrameStep) -> dict[str, float]:
    """Return the operations of one frame of one stream by stage: ``lm``, ``codec``, and if used ``fine``, ``mel``."""
    model = step.model
    flops = {"lm": _model(model), "codec": decoder_flops(step.codec.decoder)}
    if model.fine is not None:
        flops["fine"] = _fine(model.fine)
    if model.hybrid:
        flops["mel"] = mel_flops(step.mel)
    return flops


def stack_flops(config: StackConfig) -> float:
    """Return the operations of one position of a decoder-only stack with a full window."""
    projected = (config.heads + 2 * config.kv_heads) * config.head_width
    weights = config.width * (projected + config.width + 2 * config.hidden)
    attention = 2 * config.heads * config.head_width * config.window  # scores and their mixture
    return 2.0 * config.layers * (weights + attention)


def decoder_flops(decoder: Decoder) -> float:
    """Return the operations that decode one frame from its latent to samples."""
    total, rate = 0.0, 1  # samples per frame at this depth
    for module in _in_order(decoder):
        if isinstance(module, CausalConv1d):
            total += 2.0 * module.inputs * module.outputs * module.kernel * rate
        elif isinstance(module, CausalConvTranspose1d):
            rate *= module.stride
            total += 2.0 * 2 * module.inputs * module.outputs * rate
        elif isinstance(module, ResidualLSTM):
            total += 2.0 * module.layers * 4 * module.width * 2 * module.width * rate
    return total


def mel_flops(mel: CausalMel) -> float:
    """Return the operations of one slice: window, real transform (2.5·N·log2 N), magnitudes and filterbank."""
    size = mel.config.window
    return size + 2.5 * size * log2(size) + 3.0 * (size // 2 + 1) + 2.0 * int(mel.bank.count_nonzero())


def _model(model: WhisperGPT) -> float:
    config = model.config
    total = stack_flops(config.stack) + _product(model.head)
    if config.spectrogram is not None and model.slice_projection is not None:
        total += stack_flops(config.spectrogram) + _product(model.slice_projection)
    return total


def _fine(fine: FineStage) -> float:
    scores = 2.0 * fine.config.dimension * CODEBOOK_SIZE  # products with the codec's own entries
    layers = sum(_product(m) for m in fine.modules() if isinstance(m, nn.Linear))
    return layers + scores * (fine.config.n_codebooks - 1)


def _product(linear: nn.Linear) -> float:
    return 2.0 * linear.in_features * linear.out_features


def _in_order(decoder: Decoder) -> list[nn.Module]:
    """Return the layers with products in execution order; all layers of a residual block run at the same rate."""
    kinds = (CausalConv1d, CausalConvTranspose1d, ResidualLSTM)
    return [module for module in decoder.modules() if isinstance(module, kinds)]


@dataclass(frozen=True)
class Traffic:
    """Bytes that one frame must move if processor caches keep nothing between steps; in float32 as it is counted.

    Attributes:
        keys_values: a full window of one stream, read.
        state: all other state of one stream, read and written.
        samples: output of one stream, written.
        weights: read once for all streams of a step.
        stage_weights: ``weights`` by stage.
    """

    keys_values: int
    state: int
    samples: int
    weights: int
    stage_weights: dict[str, int]

    @property
    def per_stream(self) -> int:
        """Bytes that each stream moves."""
        return self.keys_values + self.state + self.samples

    def in_bfloat16(self) -> Traffic:
        """Return the bytes with caches and weights in bfloat16, and all other state in float32, as a GPU has them."""
        halves = {stage: count // 2 for stage, count in self.stage_weights.items()}
        return replace(self, keys_values=self.keys_values // 2, weights=sum(halves.values()), stage_weights=halves)


def traffic_per_frame(step: FrameStep) -> Traffic:
    """Count the bytes of a one-slot state and of the weights, in the precision that torch holds them in."""
    device = torch.device("cpu")
    with torch.inference_mode():
        state = step.init_state(1, device)
    model_state = branch(state, "model")
    keys_values = sum(state_bytes(branch(model_state, name)) for name in ("stack", "slices") if name in model_state)
    model = step.model
    embedding = model.code_embedding
    of_model = _bytes(list(model.parameters())) - _bytes([embedding.weight])  # a stream reads one row of the embedding
    of_model -= 0 if model.decoder is None else _bytes(list(model.decoder.parameters()))
    of_fine = _bytes(list(model.fine.parameters())) if model.fine is not None else 0
    stages = {"lm": of_model - of_fine, "codec": _bytes(list(step.codec.decoder.parameters()))}
    if model.fine is not None:
        stages["fine"] = of_fine + _bytes(step.codec.quantizer.entries[1:])
    if model.hybrid:
        stages["mel"] = 2 * int(step.mel.bank.count_nonzero()) * step.mel.bank.element_size()  # values and indices
    sampler = state_bytes(branch(state, "sampler"))  # few, and only read
    other = state_bytes(state) - keys_values - sampler
    return Traffic(keys_values, 2 * other, HOP * 2, sum(stages.values()), stages)


def _bytes(tensors: list[nn.Parameter] | list[Tensor]) -> int:
    return sum(prod(t.shape) * t.element_size() for t in tensors)
