"""Moshi's published streaming modules at our sizes: ``StreamingTransformer`` and the streaming ``SEANetDecoder``.

Kyutai's package is the strongest open streaming codec. Its modules are used unchanged, with their own batching, ring
caches and sampling. All state streams, so nothing is decoded twice. Its SEANet lacks EnCodec's LSTM and so has less
work. It is built with EnCodec's one residual layer and convolved shortcut, and otherwise with this model's sizes. The
decoder may take several frames at once, as Moshi's codec does at 12.5 frames a second; probes find the best number.

The package's metadata forbids torch 2.10 and later, but its modules run on it. ``make peers`` therefore installs it
without dependencies in a folder of its own, which only this peer's process imports from.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from whispergpt.benchmarks.peers.peer import Sizes, Variant
from whispergpt.engine.config import CODEBOOK_SIZE, CodecConfig, StackConfig

NAME = "Moshi's streaming SEANet + StreamingTransformer"
CHUNKS = (1, 2, 4, 8)
PUBLISHED_CHUNK = None
_PRIMED_AT_ONCE = 128


def _module(name: str) -> Any:
    """Import a module of the package, untyped."""
    return import_module(name)


class _Model(nn.Module):
    """Decoder-only model that draws the next coarse code from the last one."""

    def __init__(self, stack: StackConfig) -> None:
        super().__init__()
        self._sample = _module("moshi.utils.sampling").sample_token
        self.embedding = nn.Embedding(CODEBOOK_SIZE, stack.width)
        self.transformer = _module("moshi.modules.transformer").StreamingTransformer(
            d_model=stack.width,
            num_heads=stack.heads,
            num_layers=stack.layers,
            dim_feedforward=stack.hidden,
            kv_repeat=stack.heads // stack.kv_heads,
            causal=True,
            context=stack.window,
            positional_embedding="rope",
            norm="layer_norm",
        )
        self.norm = nn.LayerNorm(stack.width)
        self.head = nn.Linear(stack.width, CODEBOOK_SIZE, bias=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Draw the next codes ``[B]`` from codes ``[B, T]``."""
        x = self.transformer(self.embedding(codes))[:, -1]
        drawn: Tensor = self._sample(self.head(self.norm(x)).float(), use_sampling=True, temp=1.0)
        return drawn


def _decoder(codec: CodecConfig) -> Any:
    return _module("moshi.modules.seanet").SEANetDecoder(
        dimension=codec.dimension,
        n_filters=codec.n_filters,
        n_residual_layers=1,
        ratios=list(codec.ratios),
        kernel_size=codec.kernel_size,
        last_kernel_size=codec.kernel_size,
        residual_kernel_size=codec.residual_kernel_size,
        true_skip=False,
        causal=True,
        pad_mode="constant",
    )


class Pair:
    """The model and the decoder in one variant.

    Raises:
        ImportError: ``moshi`` is not installed.
    """

    def __init__(self, sizes: Sizes, variant: Variant, device: torch.device) -> None:
        self.sizes, self.variant, self.device = sizes, variant, device
        made: dict[str, Any] = {"device": device, "dtype": variant.torch_dtype}
        self.model = _Model(sizes.stack).to(**made).eval()
        self.decoder = _decoder(sizes.codec).to(**made).eval()
        self.entries = torch.randn(sizes.codec.n_codebooks, CODEBOOK_SIZE, sizes.codec.dimension, **made)
        self.draw: Any = self.model
        self.decode: Any = self.decoder
        if variant.compiled:
            self.draw, self.decode = torch.compile(self.model), torch.compile(self.decoder)

    def group(self, streams: int) -> PairGroup:
        return PairGroup(self, streams)


class PairGroup:
    """Streams with their state in Moshi's own objects, which each step puts into the modules."""

    @torch.inference_mode()
    def __init__(self, pair: Pair, streams: int) -> None:
        self._pair = pair
        transformer, decoder = pair.model.transformer, pair.decoder
        shape = (streams, pair.sizes.codec.n_codebooks, pair.variant.frames)
        self._codes = torch.randint(CODEBOOK_SIZE, shape, device=pair.device)
        with transformer.streaming(streams), decoder.streaming(streams):
            self._of_model, self._of_decoder = transformer.get_streaming_state(), decoder.get_streaming_state()
            for begin in range(0, pair.sizes.in_prompt, _PRIMED_AT_ONCE):
                wanted = min(_PRIMED_AT_ONCE, pair.sizes.in_prompt - begin)
                pair.model(torch.randint(CODEBOOK_SIZE, (streams, wanted), device=pair.device))

    def advance(self) -> None:
        pair = self._pair
        pair.model.transformer.set_streaming_state(self._of_model)
        pair.decoder.set_streaming_state(self._of_decoder)
        drawn = [self._codes[:, 0, -1].clone()]
        for _ in range(pair.variant.frames):
            drawn.append(pair.draw(drawn[-1][:, None]).clone())
        self._codes[:, 0] = torch.stack(drawn[1:], dim=1)
        latents = torch.stack([e[c] for e, c in zip(pair.entries, self._codes.unbind(1), strict=True)]).sum(0)
        self.samples = pair.decode(latents.transpose(1, 2))[:, 0].float().cpu()
        pair.model.transformer._stop_streaming()
        pair.decoder._stop_streaming()


load = Pair
