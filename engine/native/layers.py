"""The layers of the codec, the spectrogram and the model as kernels, for programs of frames and of prompts."""

from __future__ import annotations

from contextlib import nullcontext
from math import gcd, prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from whispergpt.engine.config import HOP, LIMITS_HZ, MEL_WINDOWS, CodecConfig
from whispergpt.engine.low_pass import TAPS, LowPass, coefficients
from whispergpt.engine.model.cache import places_of
from whispergpt.engine.model.convolution import CausalConv1d, CausalConvTranspose1d, ResidualLSTM
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.mel import CausalMel
from whispergpt.engine.model.rotary import PERIOD
from whispergpt.engine.model.seanet import Decoder, Encoder, ResidualBlock
from whispergpt.engine.model.streaming import State, branch, leaf
from whispergpt.engine.model.transformer import Stack
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.engine.native import kernels as k
from whispergpt.engine.native.builds import NativeError
from whispergpt.engine.native.emitter import Emitter, Signal

_LANES = 16  # floats in the widest vectors; many sizes must be multiples of this


class LayerEmitter(Emitter):
    """A program that is being built from this package's modules."""

    def seanet(self, module: Encoder | Decoder, x: Signal, state: State) -> Signal:
        """Emit an encoder or a decoder, layer by layer."""
        layers = list(enumerate(module.model))
        # Layers behind the first that adds samples have small weights and large signals.
        wide = next((index for index, layer in layers if isinstance(layer, CausalConvTranspose1d)), len(layers)) + 1
        x = self._layers(layers[:wide], x, state)
        return self.in_tiles(x, lambda x: self._layers(layers[wide:], x, state)) if wide < len(layers) else x

    def _layers(self, layers: list[tuple[int, nn.Module]], x: Signal, state: State) -> Signal:
        through_elu = False
        for index, layer in layers:
            if isinstance(layer, nn.ELU):
                through_elu = True
                continue
            own = branch(state, str(index))
            if isinstance(layer, CausalConv1d):
                # The noise of rounding in the decoder's last layer would fill quiet bands, which the slices show.
                with self.without_bytes() if layer is layers[-1][1] else nullcontext():
                    x = self._convolution(layer, x, own, through_elu)
            elif isinstance(layer, CausalConvTranspose1d):
                x = self._transposed(layer, x, own, through_elu)
            elif isinstance(layer, ResidualBlock):
                x = self._residual(layer, x, own)
            elif isinstance(layer, ResidualLSTM):
                self._lstm(layer, x, own)
            else:
                raise NativeError(f"there is no kernel for {type(layer).__name__}")
            through_elu = False
        return x

    def _convolution(
        self,
        conv: CausalConv1d,
        x: Signal,
        state: State,
        through_elu: bool,
        activation: int = k.NONE,
        add_to: Signal | None = None,
        more: tuple[Signal, CausalConv1d] | None = None,
        for_product: bool = False,
        plain: Signal | None = None,
    ) -> Signal:
        context = leaf(state, "context") if conv.context else None
        seen = x
        if context is not None or through_elu:
            seen = self.window(x, conv.context, context, through_elu, for_product=True, plain=plain)
        times, step = x.times // conv.stride, conv.stride * x.width
        # If one sample has few outputs, a panel holds those of several: neighbouring windows become one.
        panel = self._panel // 2 if self._pairs else self._panel
        together = gcd(times, max(1, panel // conv.outputs))
        beside = None if more is None else (more[0], *_together(*more[1].matrix(), more[0].width, together))
        rows = (times // together, together * step)
        y = self.product(
            seen, *_together(*conv.matrix(), step, together), *rows, activation, add_to, beside, for_product
        )
        return Signal(y.rows, times, conv.outputs, y.pairs)

    def _transposed(self, conv: CausalConvTranspose1d, x: Signal, state: State, through_elu: bool) -> Signal:
        previous = leaf(state, "previous")
        if self._pairs and through_elu and x.times % 2 == 0 and x.width % 2 == 0:
            y = self._two_by_two(conv, x, previous)
        else:
            seen = self.window(x, 1, previous, through_elu, for_product=True)
            y = self.product(seen, *conv.matrix(), x.times, x.width)
        return Signal(y.rows, x.times * conv.stride, conv.outputs)

    def _two_by_two(self, conv: CausalConvTranspose1d, x: Signal, previous: Tensor) -> Signal:
        """Emit a transposed convolution of each two samples as three products instead of four.

        With weights A of the sample before and B of a sample itself, outputs of samples 0 and 1 are
        A x(-1) + B x(0) = A (x(-1) - x(0)) + (A + B) x(0) and A x(0) + B x(1) = B (x(1) - x(0)) + (A + B) x(0).
        It is the fast filter of length 2 (Mou and Duhamel, 1991).
        """
        matrix, bias = conv.matrix()
        a, b = matrix[:, : x.width], matrix[:, x.width :]
        seen, y = self.differences(x, previous), self.buffer(x.times, len(matrix))
        before, first, second = (_from(seen, part * x.width) for part in range(3))
        even, odd = (Signal(_from(y, part * y.width).rows, x.times // 2, 2 * y.width) for part in range(2))
        self.product(first, self._weights.derived(torch.add, a, b), bias, into=odd)
        self.product(before, a, None, add_to=odd, into=even)
        self.product(second, b, None, add_to=odd, into=odd)
        return y

    def _residual(self, block: ResidualBlock, x: Signal, state: State) -> Signal:
        first, second = block.block[1], block.block[3]
        assert isinstance(first, CausalConv1d) and isinstance(second, CausalConv1d)
        own = branch(state, "1")
        if self._pairs and first.outputs % 2 == 0:  # one product for both
            plain = self.buffer(x.times, x.width, pairs=True)
            hidden = self._convolution(first, x, own, True, k.ELU, for_product=True, plain=plain)
            return self._convolution(block.shortcut, plain, {}, False, more=(hidden, second))
        hidden = self._convolution(first, x, own, True, k.ELU)
        y = self._convolution(block.shortcut, x, {}, False)
        return self._convolution(second, hidden, {}, False, add_to=y)

    def _lstm(self, layer: ResidualLSTM, x: Signal, state: State) -> None:
        """Emit an LSTM that adds its output to ``x``."""
        hidden, cell = leaf(state, "hidden"), leaf(state, "cell")
        y = x
        for index in range(layer.layers):
            weight, bias = layer.gates(index)
            gates = self.product(y, weight[:, : x.width], bias)
            y, before = self.buffer(1, x.width), self.buffer(1, x.width)
            own = k.Rows.of(hidden, index * x.width)
            with self.row_by_row():
                self.emit(k.Fetch(own, x.width, before.rows))
                self.product(before, weight[:, x.width :], None, add_to=gates)
                self.emit(k.Cell(gates.rows, x.width, k.Rows.of(cell, index * x.width), own, y.rows))
        self.emit(k.Add(y.rows, x.width, x.rows))

    def limit(self, samples: npt.NDArray[np.int16], low_pass: LowPass) -> None:
        """Emit the filters of slots with a limit, which ``samples`` ``[rows, 320]`` go through in place."""
        filters = self.keep(torch.from_numpy(np.stack([coefficients(limit_hz) for limit_hz in LIMITS_HZ])))
        numbers, history = self.keep(low_pass.numbers).data_ptr(), self.keep(low_pass.history).data_ptr()
        self.emit(k.LowPass(k.samples_at(samples), HOP, TAPS, filters.data_ptr(), numbers, history))

    def slices(self, mel: CausalMel, audio: Signal, tail: Tensor) -> Signal:
        """Emit the mel slices ``[n_mels]`` of each row's samples."""
        size = mel.config.window
        angle = -2 * torch.pi * torch.arange(size // 2, dtype=torch.float64) / size
        cosine, sine = self.keep(angle.cos().float()), self.keep(angle.sin().float())
        bins = self.buffer(1, size // 2 + 1)
        window = self.keep(mel.window)
        addresses = (window.data_ptr(), cosine.data_ptr(), sine.data_ptr())
        self.emit(k.Spectrum(audio.rows, HOP, size, *addresses, k.Rows.of(tail), bins.rows))
        with self.single_precision():  # the logarithm would show rounding errors in quiet bands
            bands = self.product(bins, mel.bank.t(), None)
        self.emit(k.LogScale(bands.rows, bands.width, mel.config.floor))
        return bands

    def heard(self, model: WhisperGPT, codes: k.Codes, mel: Signal | None, state: State) -> Signal:
        """Emit the model over frames ``codes`` and their slices; return its hidden states.

        For consecutive frames only the last hidden state is computed: of the others only the rings' entries are needed.
        """
        position = leaf(state, "position")
        joined = self.buffer(1, model.config.stack.width)
        self.embed(codes, model.code_embedding.weight, joined.rows)
        if model.slice_stack is not None and model.slice_projection is not None and mel is not None:
            slices = self.product(mel, model.slice_projection.weight, model.slice_projection.bias)
            beside = k.Rows(joined.rows.data + 4 * model.config.code_width, joined.rows.stride)
            self.stack(model.slice_stack, slices, branch(state, "slices"), position, beside)
        hidden = self.buffer(1, model.config.stack.width)
        self.stack(model.stack, joined, branch(state, "stack"), position, hidden.rows, last_row_alone=True)
        if model.fine is not None:
            self.emit(k.Keep(hidden.rows, hidden.width, k.Rows.of(leaf(state, "hidden"))))
        return hidden

    def nearest(self, residual: Signal, tables: list[Tensor], codes: npt.NDArray[np.int32]) -> None:
        """Emit the search of the ``codes`` ``[K, rows]`` nearest to ``residual``, which is changed to what is left."""
        for found, entries in zip(codes, tables, strict=True):
            scores = self.product(residual, entries, self._weights.derived(_nearness, entries))
            self.emit(k.Largest(scores.rows, scores.width, k.codes_at(found)))
            less = self.buffer(1, residual.width)
            self.embed(k.codes_at(found), self._weights.derived(torch.neg, entries), less.rows)
            self.emit(k.Add(less.rows, less.width, residual.rows))

    def add_entries(self, codes: npt.NDArray[np.int32], tables: list[Tensor], latent: Signal) -> None:
        """Emit the addition of the entries of ``codes`` ``[K, rows]`` to ``latent``."""
        for row, table in zip(codes, tables, strict=False):
            entry = self.buffer(1, latent.width)
            self.embed(k.codes_at(row), table, entry.rows)
            self.emit(k.Add(entry.rows, entry.width, latent.rows))

    def stack(
        self, stack: Stack, x: Signal, state: State, position: Tensor, out: k.Rows, last_row_alone: bool = False
    ) -> None:
        """Emit transformer blocks; ``x`` is the residual stream, and is changed.

        ``last_row_alone``: of consecutive rows, compute ``out`` for the last one only.
        """
        config = stack.config
        cosine, sine = self.keep(stack.rotary.cosine), self.keep(stack.rotary.sine)
        normed, mixed = self.buffer(1, config.width), self.buffer(1, config.width)
        turned = self.buffer(1, config.width + config.head_width)
        kept_in = leaf(branch(state, "0"), "keys").dtype
        scores = self.buffer(config.heads, places_of(config, kept_in))
        for index, block in enumerate(stack.blocks):
            ring = branch(state, str(index))
            self.norm(x, block.attention_norm.weight, normed.rows)
            heads = self.product(normed, block.attention.query_key_value.weight, None)
            sizes = (config.heads, config.kv_heads, config.head_width, config.window)
            angles = (cosine.data_ptr(), sine.data_ptr(), PERIOD, position.data_ptr())
            keys, values = leaf(ring, "keys"), leaf(ring, "values")
            held = (k.Rows.of_ring(keys), k.Rows.of_ring(values), k.KEPT[kept_in])
            self.emit(
                k.Attention(heads.rows, *sizes, *angles, *held, turned.rows, scores.rows, mixed.rows, self.consecutive)
            )
            alone = last_row_alone and block is stack.blocks[-1]
            with self.last_row_alone() if alone else nullcontext():
                self.product(mixed, block.attention.output.weight, None, add_to=x)
                self.norm(x, block.mlp_norm.weight, normed.rows)
                hidden = self.product(normed, block.up.weight, None, activation=k.GELU, for_product=True)
                self.product(hidden, block.down.weight, None, add_to=x)
                if alone:
                    self.norm(x, stack.norm.weight, out)
        if not last_row_alone:
            self.norm(x, stack.norm.weight, out)


def _from(x: Signal, channel: int) -> Signal:
    """Return a signal's view from a channel on."""
    rows = k.Rows(x.rows.data + (2 if x.pairs else 4) * channel, x.rows.stride)
    return Signal(rows, x.times, x.width, x.pairs)


def _together(matrix: Tensor, bias: Tensor, step: int, count: int) -> tuple[Tensor, Tensor]:
    """Return weights ``[count · N, K + (count - 1) · step]`` and bias for ``count`` neighbouring windows as one."""
    if count == 1:
        return matrix, bias
    shifted = torch.zeros(count, len(matrix), matrix.shape[1] + (count - 1) * step)
    for sample in range(count):
        shifted[sample, :, sample * step : sample * step + matrix.shape[1]] = matrix
    return shifted.flatten(0, 1), bias.repeat(count)


def _nearness(entries: Tensor) -> Tensor:
    """Return -|e|² / 2 of each entry e ``[N, K]``: the nearest to x has the largest x·e - |e|² / 2."""
    # A running sum has one order on all processors, which ``sum`` has not.
    return -entries.double().square().cumsum(1)[:, -1].float() / 2


def check_sizes(step: FrameStep) -> None:
    """Raise NativeError if the kernels are not made for this model."""
    config = step.model.config
    stacks = [config.stack, *([config.spectrogram] if config.spectrogram else [])]
    whole = [s.width for s in stacks]
    whole += [config.fine.width] if config.fine else []
    check_codec(step.codec.config)
    if any(width % _LANES for width in whole) or any(s.head_width % (2 * _LANES) for s in stacks):
        raise NativeError(
            f"the kernels take widths that are multiples of {_LANES}, {2 * _LANES} for heads, and this model has others"
        )
    if config.mel.window not in MEL_WINDOWS:
        raise NativeError(f"the kernels take mel windows of {', '.join(map(str, MEL_WINDOWS))} samples")


def check_codec(config: CodecConfig) -> None:
    """Raise NativeError if the kernels are not made for this codec."""
    widths = (config.dimension, config.n_filters * 2 ** len(config.ratios))
    if any(width % _LANES for width in widths) or prod(config.ratios) != HOP:
        raise NativeError(
            f"the kernels take widths that are multiples of {_LANES} and frames of {HOP} samples, "
            "and this codec has others"
        )
