"""The frame step laid out as a program of compiled kernels, over the same weights and the same state.

It computes what ``FrameStep.forward`` computes (a parity test holds it to that) for whichever slots are given, and
each stream's result does not depend on the others': see `src/linear.h`.
"""

from __future__ import annotations

import ctypes
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.config import HOP
from engine.convolution import CausalConv1d, CausalConvTranspose1d, ResidualLSTM
from engine.fine_stage import FineStage
from engine.frame_step import FrameStep
from engine.mel import CausalMel
from engine.native import kernels as k
from engine.native.emitter import STAGES, Emitter, Signal
from engine.native.library import Library, NativeError
from engine.rotary import PERIOD
from engine.seanet import Decoder, ResidualBlock
from engine.streaming import State, branch, leaf
from engine.transformer import Stack

_LANES = 16  # of the widest vectors: what the kernels take whole is a multiple of this


class FrameProgram(Emitter):
    """The frame step for up to ``rows`` of the slots in ``state``.

    Raises:
        NativeError: the kernels are not made for a model of these sizes.
    """

    def __init__(self, step: FrameStep, state: State, rows: int, library: Library) -> None:
        _check_sizes(step)
        super().__init__(library, rows)
        self._state = state  # the program has addresses of it
        self.codes = self.keep(torch.zeros(rows, dtype=torch.int32)).numpy()
        self.samples = self.keep(torch.zeros(rows, HOP, dtype=torch.int16)).numpy()
        self._lay_out(step, state)

    def run(self, slots: npt.NDArray[np.int32], begin: int, end: int) -> dict[str, float]:
        """One frame of streams ``begin`` to ``end`` of those in ``slots`` ``[n]``: their ``codes`` and ``samples``.

        Threads may run disjoint parts of the same slots at once.

        Returns:
            The seconds of each stage.
        """
        assert slots.dtype == np.int32 and slots.flags.c_contiguous
        assert 0 <= begin <= end <= len(slots) <= len(self.codes)
        seconds = np.zeros(len(STAGES))
        self._library.whispergpt_run(self._handle, slots.ctypes.data, begin, end, seconds.ctypes.data)
        return dict(zip(STAGES, seconds.tolist(), strict=True))

    def _lay_out(self, step: FrameStep, state: State) -> None:
        model, model_state = step.model, branch(state, "model")
        sampler, logits = branch(state, "sampler"), leaf(state, "logits")
        drawn = {name: leaf(sampler, name).data_ptr() for name in ("seed", "frame", "temperature", "top_k", "top_p")}
        codes, position = _pointer(self.codes, ctypes.c_int32), leaf(model_state, "position")
        self.stage("lm")
        self.emit(k.Sample(k.Rows.of(logits), logits.shape[1], **drawn, codes=codes))
        latent = self.buffer(1, step.codec.config.dimension)
        self.embed(codes, step.codec.quantizer.entries[0], latent.rows)
        if model.fine is not None:
            self.stage("fine")
            self._finer(model.fine, step.codec.quantizer.entries, latent, state, drawn)
        self.stage("codec")
        audio = self._decoder(step.codec.decoder, latent, branch(state, "decoder"))
        if (audio.times, audio.width) != (HOP, 1):
            raise NativeError(f"the kernels make frames of {HOP} samples, and this codec makes {audio.times}")
        self.emit(k.Quantize(audio.rows, HOP, _pointer(self.samples, ctypes.c_int16)))
        joined = self.buffer(1, model.config.stack.width)
        self.embed(codes, model.code_embedding.weight, joined.rows)
        if model.slice_stack is not None and model.slice_projection is not None:
            self.stage("mel")
            mel = self._mel(step.mel, audio, leaf(branch(state, "mel"), "tail"))
            self.stage("lm")
            slices = self.product(mel, model.slice_projection.weight, model.slice_projection.bias)
            beside = k.Rows(joined.rows.data + 4 * model.config.code_width, joined.rows.stride)
            self._stack(model.slice_stack, slices, branch(model_state, "slices"), position, beside)
        self.stage("lm")
        hidden = self.buffer(1, model.config.stack.width)
        self._stack(model.stack, joined, branch(model_state, "stack"), position, hidden.rows)
        if model.fine is not None:
            self.emit(k.Keep(hidden.rows, hidden.width, k.Rows.of(leaf(model_state, "hidden"))))
        new = self.product(hidden, model.head.weight, None)
        self.emit(k.Keep(new.rows, new.width, k.Rows.of(logits)))
        self.emit(k.Advance(drawn["frame"], position.data_ptr()))

    def _finer(
        self, fine: FineStage, entries: list[Tensor], latent: Signal, state: State, drawn: dict[str, int]
    ) -> None:
        """What the finer codes add to the coarse code's ``latent``."""
        config = fine.config
        known, previous = self.buffer(1, fine.hidden.in_features), self.buffer(1, config.dimension)
        self.emit(k.Fetch(k.Rows.of(leaf(branch(state, "model"), "hidden")), known.width, known.rows))
        self.emit(k.Fetch(k.Rows.of(leaf(state, "latent")), previous.width, previous.rows))
        context = self.product(known, fine.hidden.weight, None)
        self.product(previous, fine.previous.weight, None, add_to=context)
        codes = _pointer(self.keep(torch.zeros(len(self.codes), dtype=torch.int32)).numpy(), ctypes.c_int32)
        noise = (drawn["seed"], drawn["frame"], drawn["temperature"], config.temperature)
        for index, level in enumerate(fine.levels, start=1):
            x = self.window(context, 0, None, through_elu=False)  # a copy, which the product is added to
            self.product(latent, level.latent.weight, level.latent.bias, activation=k.GELU, add_to=x)
            more = self.product(x, level.up.weight, level.up.bias, activation=k.GELU)
            self.emit(k.Add(more.rows, more.width, x.rows))
            query = self.product(x, level.query.weight, level.query.bias)
            logits = self.product(query, entries[index], level.bias)
            self.emit(k.Draw(logits.rows, logits.width, *noise, index, codes))
            entry = self.buffer(1, config.dimension)
            self.embed(codes, entries[index], entry.rows)
            self.emit(k.Add(entry.rows, entry.width, latent.rows))
        self.emit(k.Keep(latent.rows, latent.width, k.Rows.of(leaf(state, "latent"))))

    def _decoder(self, decoder: Decoder, x: Signal, state: State) -> Signal:
        through_elu = False
        for index, layer in enumerate(decoder.model):
            if isinstance(layer, nn.ELU):
                through_elu = True
                continue
            own = branch(state, str(index))
            if isinstance(layer, CausalConv1d):
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
        self, conv: CausalConv1d, x: Signal, state: State, through_elu: bool, activation: int = k.NONE
    ) -> Signal:
        context = leaf(state, "context") if conv.context else None
        seen = self.window(x, conv.context, context, through_elu) if context is not None or through_elu else x
        matrix, bias = conv.matrix()
        times, step = x.times // conv.stride, conv.stride * x.width
        # A panel has room for the outputs of several samples where one has few: the windows of neighbours as one.
        together = gcd(times, max(1, self._panel // conv.outputs))
        shifted = torch.zeros(together, conv.outputs, matrix.shape[1] + (together - 1) * step)
        for sample in range(together):
            shifted[sample, :, sample * step : sample * step + matrix.shape[1]] = matrix
        bias = bias.repeat(together)
        y = self.product(seen, shifted.flatten(0, 1), bias, times // together, together * step, activation)
        return Signal(y.rows, times, conv.outputs)

    def _transposed(self, conv: CausalConvTranspose1d, x: Signal, state: State, through_elu: bool) -> Signal:
        seen = self.window(x, 1, leaf(state, "previous"), through_elu)
        y = self.product(seen, *conv.matrix(), x.times, x.width)
        return Signal(y.rows, y.times * conv.stride, conv.outputs)

    def _residual(self, block: ResidualBlock, x: Signal, state: State) -> Signal:
        first, second = block.block[1], block.block[3]
        assert isinstance(first, CausalConv1d) and isinstance(second, CausalConv1d)
        hidden = self._convolution(first, x, branch(state, "1"), True, k.ELU)
        y = self._convolution(block.shortcut, x, {}, False)
        self.product(hidden, *second.matrix(), add_to=y)
        return y

    def _lstm(self, layer: ResidualLSTM, x: Signal, state: State) -> None:
        """Its output is added to ``x``."""
        hidden, cell = leaf(state, "hidden"), leaf(state, "cell")
        y = x.rows
        for index in range(layer.layers):
            beside = self.buffer(1, 2 * x.width)
            own = k.Rows.of(hidden, index * x.width)
            self.emit(k.Recall(y, x.width, own, beside.rows))
            gates = self.product(beside, *layer.gates(index))
            y = self.buffer(1, x.width).rows
            self.emit(k.Cell(gates.rows, x.width, k.Rows.of(cell, index * x.width), own, y))
        self.emit(k.Add(y, x.width, x.rows))

    def _mel(self, mel: CausalMel, audio: Signal, tail: Tensor) -> Signal:
        size = mel.config.window
        angle = -2 * torch.pi * torch.arange(size // 2, dtype=torch.float64) / size
        cosine, sine = self.keep(angle.cos().float()), self.keep(angle.sin().float())
        bins = self.buffer(1, size // 2 + 1)
        window = self.keep(mel.window)
        addresses = (window.data_ptr(), cosine.data_ptr(), sine.data_ptr())
        self.emit(k.Spectrum(audio.rows, HOP, size, *addresses, k.Rows.of(tail), bins.rows))
        slices = self.product(bins, mel.bank.t(), None)
        self.emit(k.LogScale(slices.rows, slices.width, mel.config.floor))
        return slices

    def _stack(self, stack: Stack, x: Signal, state: State, position: Tensor, out: k.Rows) -> None:
        """``x`` is the residual stream, and changed."""
        config = stack.config
        cosine, sine = self.keep(stack.rotary.cosine), self.keep(stack.rotary.sine)
        normed, mixed = self.buffer(1, config.width), self.buffer(1, config.width)
        turned, scores = self.buffer(1, config.width), self.buffer(config.heads, config.window)
        for index, block in enumerate(stack.blocks):
            ring = branch(state, str(index))
            self.norm(x, block.attention_norm.weight, normed.rows)
            heads = self.product(normed, block.attention.query_key_value.weight, None)
            sizes = (config.heads, config.kv_heads, config.head_width, config.window)
            angles = (cosine.data_ptr(), sine.data_ptr(), PERIOD, position.data_ptr())
            held = (k.Rows.of(leaf(ring, "keys")), k.Rows.of(leaf(ring, "values")))
            self.emit(k.Attention(heads.rows, *sizes, *angles, *held, turned.rows, scores.rows, mixed.rows))
            self.product(mixed, block.attention.output.weight, None, add_to=x)
            self.norm(x, block.mlp_norm.weight, normed.rows)
            hidden = self.product(normed, block.up.weight, None, activation=k.GELU)
            self.product(hidden, block.down.weight, None, add_to=x)
        self.norm(x, stack.norm.weight, out)


def _pointer(array: npt.NDArray[Any], kind: type) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))


def _check_sizes(step: FrameStep) -> None:
    config = step.model.config
    stacks = [config.stack, *([config.spectrogram] if config.spectrogram else [])]
    whole = [s.width for s in stacks]
    whole += [config.fine.width] if config.fine else []
    whole += [step.codec.config.dimension, step.codec.config.n_filters * 2 ** len(step.codec.config.ratios)]
    if any(width % _LANES for width in whole) or any(s.head_width % (2 * _LANES) for s in stacks):
        raise NativeError(
            f"the kernels take widths that are multiples of {_LANES}, {2 * _LANES} for heads, and this model has others"
        )
    window = config.mel.window
    if window & (window - 1) or not 2 * HOP <= window <= 4096:
        raise NativeError("the kernels take mel windows of 1024, 2048 or 4096 samples")
