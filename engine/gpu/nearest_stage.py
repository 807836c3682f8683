"""The fine stage that does not draw as launches: an estimate by products, and the codec's own search of codes."""

from __future__ import annotations

from torch import Tensor

from whispergpt.engine.gpu.codec_layers import CodecLayers
from whispergpt.engine.gpu.emitter import Signal
from whispergpt.engine.gpu.kernels import product
from whispergpt.engine.gpu.layers import LayerEmitter
from whispergpt.engine.model.fine.nearest_stage import NearestStage


def nearest_codes(
    emitter: LayerEmitter, stage: NearestStage, entries: list[Tensor], codes: Tensor, hidden: Tensor
) -> Signal:
    """Emit the search of the finer codes into ``codes`` ``[rows, K]``, behind the coarse ones; return the latent.

    ``hidden``: the model's state of all slots.
    """
    entry = emitter.buffer(1, stage.config.dimension)
    emitter.join(codes, entries[0], None, None, entry)
    x = emitter.product(hidden, stage.hidden.weight)
    emitter.product(entry, stage.coarse.weight, stage.coarse.bias, activation=product.GELU, add_to=x)
    more = emitter.product(x, stage.up.weight, stage.up.bias, activation=product.GELU)
    rest = emitter.product(x, stage.rest.weight, stage.rest.bias)
    emitter.product(more, stage.rest.weight, add_to=rest)
    codec = CodecLayers(emitter)
    codec.nearest(rest, entries[1:], codes[:, 1:], book_stride=1)
    return codec.entries(codes, entries)
