"""A plain PyTorch loop: a small decoder-only model, and the ``encodec`` package on windows of codes.

The loop is a developer's afternoon of work in torch: a preallocated ring of keys and values and scaled dot-product
attention. With one key and value head the attention takes the query heads as positions, which makes it one dense
product without copies. ``encodec`` cannot stream, so each chunk is decoded together with the earlier frames
that its convolutions see. The codec has this model's size, random weights and folded weight normalisation.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whispergpt.benchmarks.peers.peer import Sizes, Variant, window_frames
from whispergpt.engine.checkpoints.encodec_reference import import_encodec
from whispergpt.engine.config import CODEBOOK_SIZE, HOP, SAMPLE_RATE, StackConfig

NAME = "plain PyTorch loop + encodec on windows"
CHUNKS = (8, 15, 25, 50)
PUBLISHED_CHUNK = None


class _Block(nn.Module):
    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        self.first, self.second = (nn.LayerNorm(config.width, bias=False) for _ in range(2))
        heads = config.heads + 2 * config.kv_heads
        self.projection = nn.Linear(config.width, heads * config.head_width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, at: Tensor, turn: Tensor) -> Tensor:
        """Apply the block to ``[B, width]`` at one position; key and value go to index ``at`` ``[1]`` of the rings."""
        c = self.config
        heads = self.projection(self.first(x)).view(len(x), -1, c.head_width)
        turned = _rotate(heads[:, : c.heads + c.kv_heads], turn)
        keys.index_copy_(2, at, turned[:, c.heads :, None])
        values.index_copy_(2, at, heads[:, c.heads + c.kv_heads :, None])
        queries = turned[:, : c.heads].view(len(x), c.kv_heads, -1, c.head_width)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        x = x + self.output(mixed.reshape(len(x), c.width))
        return x + self.down(F.gelu(self.up(self.second(x))))


def _rotate(heads: Tensor, turn: Tensor) -> Tensor:
    """Rotate ``[B, heads, D]`` by the cosines and sines ``[2, D / 2]`` of a position."""
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * turn[0] - second * turn[1], first * turn[1] + second * turn[0]], dim=-1)


class _Model(nn.Module):
    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(CODEBOOK_SIZE, config.width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.head = nn.Linear(config.width, CODEBOOK_SIZE, bias=False)

    def forward(self, codes: Tensor, rings: list[tuple[Tensor, Tensor]], position: Tensor) -> Tensor:
        """Draw the next codes ``[B]`` from codes ``[B]`` at ``position`` ``[1]``, at temperature 1."""
        half = self.config.head_width // 2
        angle = position * torch.exp(torch.arange(half, device=codes.device) * (-math.log(10_000.0) / half))
        turn = torch.stack([angle.cos(), angle.sin()]).to(self.head.weight.dtype)
        x = self.embedding(codes)
        for block, (keys, values) in zip(self.blocks, rings, strict=True):
            x = block(x, keys, values, position % self.config.window, turn)
        logits = self.head(self.norm(x)).float()
        # The exponential trick is torch's fastest way to draw, and it compiles.
        return (logits.softmax(-1) / torch.empty_like(logits).exponential_(1)).argmax(-1)


class Loop:
    """The model and the codec in one variant.

    Raises:
        ImportError: ``encodec`` is not installed.
    """

    def __init__(self, sizes: Sizes, variant: Variant, device: torch.device) -> None:
        self.sizes, self.variant, self.device = sizes, variant, device
        self.model: Any = _Model(sizes.stack).to(device, variant.torch_dtype).eval()
        codec = encodec_model(sizes, folded=not variant.as_published).to(device, variant.torch_dtype)
        self.decode: Any = lambda codes: codec.decode([(codes, None)])
        if variant.compiled:
            self.model, self.decode = torch.compile(self.model), torch.compile(self.decode)

    def group(self, streams: int) -> LoopGroup:
        return LoopGroup(self, streams)


class LoopGroup:
    """Streams with full rings of random values, which take the same time as real ones."""

    @torch.inference_mode()
    def __init__(self, loop: Loop, streams: int) -> None:
        self._loop, stack, codec = loop, loop.sizes.stack, loop.sizes.codec
        shape = (streams, stack.kv_heads, stack.window, stack.head_width)
        made: dict[str, Any] = {"device": loop.device, "dtype": loop.variant.torch_dtype}
        self._rings = [(torch.randn(shape, **made), torch.randn(shape, **made)) for _ in range(stack.layers)]
        self._position = torch.full((1,), loop.sizes.in_prompt, device=loop.device)
        frames = window_frames(loop.sizes) + loop.variant.frames
        self._codes = torch.randint(CODEBOOK_SIZE, (streams, codec.n_codebooks, frames), device=loop.device)

    def advance(self) -> None:
        loop, drawn = self._loop, [self._codes[:, 0, -1].clone()]
        for _ in range(loop.variant.frames):
            # Copied, since a compiled step may overwrite its last output.
            drawn.append(loop.model(drawn[-1], self._rings, self._position).clone())
            self._position += 1
        self._codes = self._codes.roll(-loop.variant.frames, dims=2)
        self._codes[:, 0, -loop.variant.frames :] = torch.stack(drawn[1:], dim=1)
        audio = loop.decode(self._codes)
        self.samples = audio[:, 0, -loop.variant.frames * HOP :].float().cpu()


def encodec_model(sizes: Sizes, folded: bool) -> Any:
    """Return the ``encodec`` package's codec of these sizes with random weights, ready for inference.

    Raises:
        ImportError: the package is not installed.
    """
    encodec: Any = import_encodec()
    modules, quantization = encodec.modules, encodec.quantization
    codec = sizes.codec
    shape: dict[str, Any] = {"n_filters": codec.n_filters, "ratios": list(codec.ratios), "lstm": codec.lstm_layers}
    shape |= {"norm": "none" if folded else "weight_norm", "causal": True, "pad_mode": codec.pad_mode}
    kbps = codec.n_codebooks * 0.75
    model = encodec.EncodecModel(
        modules.SEANetEncoder(dimension=codec.dimension, **shape),
        modules.SEANetDecoder(dimension=codec.dimension, **shape),
        quantization.ResidualVectorQuantizer(dimension=codec.dimension, n_q=codec.n_codebooks, bins=CODEBOOK_SIZE),
        target_bandwidths=[kbps],
        sample_rate=SAMPLE_RATE,
        channels=1,
    ).eval()
    for layer in model.quantizer.vq.layers:
        layer._codebook.inited.fill_(1)
    return model


load = Loop
