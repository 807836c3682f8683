"""Hugging Face Transformers: ``generate`` in chunks on one growing cache, and ``EncodecModel`` on windows.

The model is a Mistral, a Llama with a sliding window, of this model's sizes. Its gated MLP has three matrices instead
of two, and so two thirds of the width. Each chunk is one ``generate`` call on the last chunk's cache. One
``EncodecModel.decode`` call takes the new frames and the earlier ones that its convolutions see. ``as_published``
decodes second by second and keeps the weight normalisation, as ``from_pretrained`` does. The compiled forward pass runs
on Transformers' static cache, which is made for compilation.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from whispergpt.benchmarks.peers.peer import Sizes, Variant, window_frames
from whispergpt.engine.config import CODEBOOK_SIZE, HOP, SAMPLE_RATE, CodecConfig, StackConfig

NAME = "Transformers generate + EncodecModel on windows"
CHUNKS = (8, 15, 25, 50)
PUBLISHED_CHUNK = 75


def _transformers() -> Any:
    """Return the package, untyped: checking types through it takes minutes."""
    return import_module("transformers")


def _language_model(stack: StackConfig) -> Any:
    config = _transformers().MistralConfig(
        vocab_size=CODEBOOK_SIZE,
        hidden_size=stack.width,
        intermediate_size=stack.hidden * 2 // 3,
        num_hidden_layers=stack.layers,
        num_attention_heads=stack.heads,
        num_key_value_heads=stack.kv_heads,
        head_dim=stack.head_width,
        sliding_window=stack.window,
        max_position_embeddings=1 << 20,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        attn_implementation="sdpa",
    )
    return _transformers().MistralForCausalLM(config).eval()


def _codec(codec: CodecConfig) -> Any:
    config = _transformers().EncodecConfig(
        num_filters=codec.n_filters,
        upsampling_ratios=list(codec.ratios),
        hidden_size=codec.dimension,
        num_lstm_layers=codec.lstm_layers,
        pad_mode=codec.pad_mode,
        sampling_rate=SAMPLE_RATE,
        target_bandwidths=[codec.n_codebooks * 0.75],
        codebook_size=CODEBOOK_SIZE,
    )
    model: Any = _transformers().EncodecModel(config).eval()
    for layer in model.quantizer.layers:
        nn.init.normal_(layer.codebook.embed)
    return model


def _fold(model: nn.Module) -> None:
    """Replace weight normalisation by plain weights."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")


class Pair:
    """The model and the codec in one variant.

    Raises:
        ImportError: ``transformers`` is not installed.
    """

    def __init__(self, sizes: Sizes, variant: Variant, device: torch.device) -> None:
        _transformers().logging.set_verbosity_error()
        self.sizes, self.variant, self.device = sizes, variant, device
        self.model = _language_model(sizes.stack).to(device, variant.torch_dtype)
        self.codec = _codec(sizes.codec)
        if not variant.as_published:
            _fold(self.codec)
        self.codec.to(device, variant.torch_dtype)
        self.decode: Any = self.codec.decode
        if variant.compiled:
            self.model.forward = torch.compile(self.model.forward)
            self.decode = torch.compile(self.codec.decode)

    def cache(self) -> Any:
        """Return an empty cache with the window's length."""
        if self.variant.compiled:
            return _transformers().StaticCache(self.model.config, max_cache_len=self.sizes.stack.window)
        return _transformers().DynamicCache(config=self.model.config)

    def group(self, streams: int) -> PairGroup:
        return PairGroup(self, streams)


class PairGroup:
    """Streams after a prompt that is longer than the window."""

    @torch.inference_mode()
    def __init__(self, pair: Pair, streams: int) -> None:
        self._pair, self._cache = pair, pair.cache()
        prompt = torch.randint(CODEBOOK_SIZE, (streams, pair.sizes.in_prompt), device=pair.device)
        shape = (1, streams, pair.sizes.codec.n_codebooks - 1, window_frames(pair.sizes) + pair.variant.frames)
        self._finer = torch.randint(CODEBOOK_SIZE, shape, device=pair.device)
        self._codes: Tensor = self._generate(prompt, 1)

    def advance(self) -> None:
        pair = self._pair
        self._codes = self._generate(self._codes, pair.variant.frames)
        coarse = self._codes[None, :, None, -self._finer.shape[-1] :]
        audio = pair.decode(torch.cat([coarse, self._finer], dim=2), [None])[0]
        self.samples = audio[..., -pair.variant.frames * HOP :].float().cpu()

    def _generate(self, codes: Tensor, frames: int) -> Tensor:
        """Return all codes so far ``[B, T]`` and ``frames`` new ones."""
        made: Tensor = self._pair.model.generate(
            codes,
            attention_mask=torch.ones_like(codes),
            past_key_values=self._cache,
            max_new_tokens=frames,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
        )
        return made


load = Pair
