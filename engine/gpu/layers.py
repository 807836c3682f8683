"""The layers of the model as launches: products, norms, transformer blocks, the fine stage."""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.engine.gpu.block_sizes import LEAST
from whispergpt.engine.gpu.emitter import Emitter, Signal
from whispergpt.engine.gpu.kernels import attention, fine, mlp, product
from whispergpt.engine.gpu.language import INTERPRETED, next_power_of_two
from whispergpt.engine.gpu.launch import Cost, blocks, bytes_of
from whispergpt.engine.model.fine.drawn_stage import DrawnStage
from whispergpt.engine.model.rotary import PERIOD
from whispergpt.engine.model.streaming import State, branch, leaf
from whispergpt.engine.model.transformer import Block, Stack

ROWS = 64
"""Rows of a program of a product."""
MLP_ROWS = 32
"""Rows of a program of an MLP."""
WIDEST = 256
"""Widest residual stream for which a program can keep its rows' sums; wider blocks have two products."""
FINE_ROWS = 32
"""Rows of a program of the fine stage."""
# Triton's interpreter takes about as long for many numbers as for one.
OUTPUTS = 1024 if INTERPRETED else 64
"""Most outputs of a program of a product."""
INPUTS = 1024 if INTERPRETED else 32
"""Most inputs that a product takes at once."""
FLOAT32_INPUTS = 1024 if INTERPRETED else 16
"""Most inputs of a product in float32: with more, threads have too few registers."""
PLACES = 512 if INTERPRETED else 64
"""Places of a ring that attention reads at once."""


class LayerEmitter(Emitter):
    """A program that is being built from this package's modules."""

    def product(
        self,
        x: Signal | Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        norm: Tensor | None = None,
        activation: int = product.NONE,
        add_to: Signal | None = None,
        out: Signal | Tensor | None = None,
    ) -> Signal:
        """Multiply each row of ``x`` by ``weight`` ``[N, K]``; return the result, which is in ``out`` if given.

        Args:
            x: a signal of one sample; or state ``[slots, K]``, whose rows are those of the slots.
            norm: weight of a layer norm that ``x`` goes through first.
            activation: of the result, ``NONE``, ``GELU`` or ``ELU`` of ``kernels.product``.
            add_to: signal that the result is added to before the activation, and that holds the sum afterwards.
            out: workspace or state for the result; by default a float32 buffer.
        """
        outputs, inputs = weight.shape
        source = x.memory if isinstance(x, Signal) else x
        target = add_to if add_to is not None else out if out is not None else self.buffer(1, outputs)
        memory = target.memory if isinstance(target, Signal) else target
        assert source.stride(1) == memory.stride(1) == 1
        matrix, at_once = self.weight(weight), block_of(outputs, OUTPUTS)
        most_inputs = FLOAT32_INPUTS if self.dtype == torch.float32 else INPUTS
        shift = self.slots if bias is None else self.constant(bias)
        written = outputs * memory.element_size() * (2 if add_to is not None else 1)
        self.emit(
            product.product,
            lambda rows: (blocks(rows, ROWS), blocks(outputs, at_once)),
            {
                "x": source,
                "weight": matrix,
                "bias": shift,
                "norm": self.slots if norm is None else self.constant(norm),
                "y": memory,
                "X_STRIDE": source.stride(0),
                "Y_STRIDE": memory.stride(0),
                "X_BY_SLOT": not isinstance(x, Signal),
                "Y_BY_SLOT": not isinstance(target, Signal),
                "N": outputs,
                "K": inputs,
                "HAS_NORM": norm is not None,
                "HAS_BIAS": bias is not None,
                "ADD": add_to is not None,
                "ACTIVATION": activation,
                "BM": ROWS,
                "BN": at_once,
                "BK": block_of(inputs, most_inputs),
            },
            Cost(
                row_bytes=inputs * source.element_size() + written,
                shared_bytes=bytes_of(matrix) + (0 if bias is None else bytes_of(bias)),
                operations=2 * inputs * outputs,
            ),
        )
        return target if isinstance(target, Signal) else Signal(memory, 1, outputs)

    def join(
        self, codes: Tensor | None, table: Tensor | None, x: Signal | None, norm: Tensor | None, out: Signal | Tensor
    ) -> None:
        """Write the entries of ``codes`` (the first column of ``[rows, K]``) and behind them the norm of ``x``."""
        memory = out.memory if isinstance(out, Signal) else out
        code_width = 0 if table is None else table.shape[1]
        width = 0 if x is None else x.width
        entries = self.slots if table is None else self.constant(table)
        self.emit(
            product.join,
            lambda rows: (blocks(rows, ROWS),),
            {
                "codes": self.slots if codes is None else codes,
                "table": entries,
                "x": self.slots if x is None else x.memory,
                "norm": self.slots if norm is None else self.constant(norm),
                "y": memory,
                "CODES_STRIDE": 1 if codes is None else codes.stride(0),
                "X_STRIDE": 0 if x is None else x.memory.stride(0),
                "Y_STRIDE": memory.stride(0),
                "Y_BY_SLOT": not isinstance(out, Signal),
                "CODE_WIDTH": code_width,
                "WIDTH": width,
                "BM": ROWS,
                "BK": block_of(max(code_width, width), INPUTS),
            },
            Cost(row_bytes=2 * 4 * (code_width + width)),
        )

    def stack(self, stack: Stack, x: Signal, state: State, position: Tensor) -> Signal:
        """Emit transformer blocks without the last norm; ``x`` is the residual stream, and is changed."""
        config = stack.config
        projected = (config.heads + 2 * config.kv_heads) * config.head_width
        heads, mixed = self.operand_buffer(1, projected), self.operand_buffer(1, config.width)
        for index, block in enumerate(stack.blocks):
            attend = block.attention
            self.product(x, attend.query_key_value.weight, norm=block.attention_norm.weight, out=heads)
            self._attention(stack, heads, branch(state, str(index)), position, mixed)
            self.product(mixed, attend.output.weight, add_to=x)
            if config.width <= WIDEST:
                self._mlp(block, x)
            else:
                hidden = self.operand_buffer(1, config.hidden)
                self.product(x, block.up.weight, norm=block.mlp_norm.weight, activation=product.GELU, out=hidden)
                self.product(hidden, block.down.weight, add_to=x)
        return x

    def _mlp(self, block: Block, x: Signal) -> None:
        width, hidden = block.down.weight.shape
        up, down = self.weight(block.up.weight), self.weight(block.down.weight)
        norm = self.constant(block.mlp_norm.weight)
        # In float32 more rows or hidden numbers at once would spill registers.
        at_once, most = (MLP_ROWS, OUTPUTS) if self.dtype == torch.bfloat16 else (MLP_ROWS // 2, OUTPUTS // 2)
        self.emit(
            mlp.mlp,
            lambda rows: (blocks(rows, at_once),),
            {
                "x": x.memory,
                "norm": norm,
                "up": up,
                "down": down,
                "STRIDE": x.memory.stride(0),
                "WIDTH": width,
                "HIDDEN": hidden,
                "BM": at_once,
                "BH": block_of(hidden, most),
                "BW": block_of(width, WIDEST),
                "BK": block_of(width, INPUTS),
            },
            Cost(2 * x.row_bytes, sum(map(bytes_of, (norm, up, down))), 4 * width * hidden),
            warps=8 if width > WIDEST // 2 or self.dtype == torch.float32 else 4,
        )

    def _attention(self, stack: Stack, heads: Signal, ring: State, position: Tensor, out: Signal) -> None:
        config = stack.config
        keys, values = leaf(ring, "keys"), leaf(ring, "values")
        assert keys.shape[1:] == (config.kv_heads, config.window, config.head_width), "the rings are not in pairs"
        group = config.heads // config.kv_heads
        entry = config.head_width * keys.element_size()
        self.emit(
            attention.attention,
            lambda rows: (rows, config.kv_heads),
            {
                "heads": heads.memory,
                "keys": keys,
                "values": values,
                "position": position,
                "cosine": self.constant(stack.rotary.cosine),
                "sine": self.constant(stack.rotary.sine),
                "out": out.memory,
                "HEADS_STRIDE": heads.memory.stride(0),
                "OUT_STRIDE": out.memory.stride(0),
                "RING_STRIDE": keys.stride(0),
                "KV_HEADS": config.kv_heads,
                "GROUP": group,
                "WIDTH": config.head_width,
                "WINDOW": config.window,
                "PERIOD": PERIOD,
                "SCALE": config.head_width**-0.5,
                "BG": block_of(group, config.heads * LEAST),
                "BD": block_of(config.head_width, config.width * LEAST),
                "BP": PLACES,
            },
            Cost(
                row_bytes=heads.row_bytes + out.row_bytes + 2 * config.kv_heads * (config.window + 1) * entry,
                operations=4 * config.heads * config.head_width * config.window,
            ),
        )

    def finer(
        self, fine_stage: DrawnStage, entries: list[Tensor], codes: Tensor, state: State, drawn: dict[str, Tensor]
    ) -> Signal:
        """Emit the drawing of the finer codes into ``codes`` ``[rows, K]``; return the frame's latent.

        ``drawn``: state ``seed``, ``frame`` and ``temperature``.
        """
        config, levels = fine_stage.config, fine_stage.levels
        hidden, previous = leaf(branch(state, "model"), "hidden"), leaf(state, "latent")
        assert hidden.stride(1) == previous.stride(1) == 1 and codes.shape[1] == len(levels) + 1
        latents = self.buffer(1, config.dimension)
        context, held = self.buffer(1, config.width), self.buffer(1, config.width)
        raised, query = self.operand_buffer(1, config.width), self.operand_buffer(1, config.dimension)
        size = entries[0].shape[0]
        most = OUTPUTS if self.dtype == torch.bfloat16 else OUTPUTS // 2  # more in float32 would spill registers
        weights = self._fine_weights(fine_stage, entries)
        per_level = config.dimension * config.width * 2 + config.width**2 + size * config.dimension
        before = config.width * (fine_stage.hidden.in_features + config.dimension)
        # A program's scratch is written and read in its cache, level by level: each byte counts once.
        scratch = 2 * sum(signal.row_bytes for signal in (context, held, raised, query))
        state_bytes = 4 * (fine_stage.hidden.in_features + 2 * config.dimension)
        self.emit(
            fine.finer_codes,
            lambda rows: (blocks(rows, FINE_ROWS),),
            {
                "hidden": hidden,
                "previous": previous,
                "codes": codes,
                "latents": latents.memory,
                **drawn,
                **weights,
                "table": self.constant(torch.stack(entries[: len(levels) + 1])),
                "context": context.memory,
                "state": held.memory,
                "raised": raised.memory,
                "query": query.memory,
                "HIDDEN_HELD": hidden.stride(0),
                "PREVIOUS_HELD": previous.stride(0),
                "HIDDEN": fine_stage.hidden.in_features,
                "WIDTH": config.width,
                "DIMENSION": config.dimension,
                "LEVELS": len(levels),
                "SIZE": size,
                "HEAT": config.temperature,
                "BM": FINE_ROWS,
                "BN": block_of(config.width, most),
                "BC": block_of(size, most),
                "BK": block_of(max(config.width, config.dimension, fine_stage.hidden.in_features), INPUTS),
            },
            Cost(
                row_bytes=state_bytes + scratch + 4 * config.dimension * (len(levels) + 2) + 4 * codes.shape[1],
                shared_bytes=sum(bytes_of(weight) for weight in weights.values()),
                operations=2 * (before + per_level * len(levels)),
            ),
            warps=8,
        )
        return latents

    def _fine_weights(self, fine_stage: DrawnStage, entries: list[Tensor]) -> dict[str, Tensor]:
        """Return the weights of ``finer_codes`` by their names there, those of all levels behind one another."""
        levels = fine_stage.levels
        return {
            "hidden_weight": self.weight(fine_stage.hidden.weight),
            "previous_weight": self.weight(fine_stage.previous.weight),
            "latent_weight": self.weight(torch.stack([level.latent.weight for level in levels])),
            "latent_bias": self.constant(torch.stack([level.latent.bias for level in levels])),
            "up_weight": self.weight(torch.stack([level.up.weight for level in levels])),
            "up_bias": self.constant(torch.stack([level.up.bias for level in levels])),
            "query_weight": self.weight(torch.stack([level.query.weight for level in levels])),
            "query_bias": self.constant(torch.stack([level.query.bias for level in levels])),
            "code_bias": self.constant(torch.stack([level.bias for level in levels])),
            "entries": self.weight(torch.stack(entries[1 : len(levels) + 1])),
        }


def block_of(count: int, most: int) -> int:
    """Return the size of blocks of ``count`` numbers: a power of two from ``LEAST`` to ``most``."""
    return min(most, max(LEAST, next_power_of_two(count)))
