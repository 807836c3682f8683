"""The frame step laid out as a program of compiled kernels, over the same weights and the same state.

It computes what ``FrameStep.forward`` computes (a parity test holds it to that) for whichever slots are given, and
each stream's result does not depend on the others': see `src/linear.h`.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.config import HOP
from engine.convolution import CausalConv1d, CausalConvTranspose1d, ResidualLSTM
from engine.frame_step import FrameStep
from engine.native import kernels as k
from engine.native.library import Library, NativeError, load_library
from engine.rotary import PERIOD
from engine.seanet import ResidualBlock
from engine.streaming import State, branch, leaf
from engine.transformer import Stack

STAGES = ("lm", "codec", "mel")
_LANES = 16  # of the widest vectors: what the kernels take whole is a multiple of this


@dataclass(frozen=True)
class _Signal:
    """What flows between kernels: ``times`` samples of ``width`` channels for each stream."""

    rows: k.Rows
    times: int
    width: int


class FrameProgram:
    """The frame step for up to ``rows`` of the slots in ``state``.

    Raises:
        NativeError: the kernels are not there, or not made for a model of these sizes.
    """

    def __init__(self, step: FrameStep, state: State, rows: int, library: Library | None = None) -> None:
        _check_sizes(step)
        loaded = library or load_library()
        self.name, self._library = loaded.name, loaded.functions
        self._handle = ctypes.c_void_p(self._library.whispergpt_program())
        self._count = rows
        self._panel = int(self._library.whispergpt_panel())
        self._kept: list[Tensor] = []  # what the program has addresses of
        self._state = state  # of this too
        self.codes = self._keep(torch.zeros(rows, dtype=torch.int32)).numpy()
        self.samples = self._keep(torch.zeros(rows, HOP, dtype=torch.int16)).numpy()
        self._lay_out(step, state)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._library.whispergpt_free(self._handle)

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
        sampler, logits = branch(state, "sampler"), leaf(state, "logits")
        codes = ctypes.cast(self.codes.ctypes.data, ctypes.POINTER(ctypes.c_int32))
        named = {name: leaf(sampler, name).data_ptr() for name in ("seed", "frame", "temperature", "top_k", "top_p")}
        self._stage("lm")
        self._add(k.Sample(k.Rows.of(logits), logits.shape[1], **named, codes=codes))
        self._stage("codec")
        audio = self._decoder(step, codes, branch(state, "decoder"))
        if (audio.times, audio.width) != (HOP, 1):
            raise NativeError(f"the kernels make frames of {HOP} samples, and this codec makes {audio.times}")
        out = ctypes.cast(self.samples.ctypes.data, ctypes.POINTER(ctypes.c_int16))
        self._add(k.Quantize(audio.rows, HOP, out))
        model, model_state = step.model, branch(state, "model")
        position = leaf(model_state, "position")
        joined = self._buffer(1, model.config.stack.width)
        self._embed(codes, model.code_embedding.weight, joined.rows)
        if model.slice_stack is not None and model.slice_projection is not None:
            self._stage("mel")
            mel = self._mel(step, audio, leaf(branch(state, "mel"), "tail"))
            self._stage("lm")
            slices = self._product(mel, model.slice_projection.weight, model.slice_projection.bias)
            beside = k.Rows(joined.rows.data + 4 * model.config.code_width, joined.rows.stride)
            self._stack(model.slice_stack, slices, branch(model_state, "slices"), position, beside)
        self._stage("lm")
        normed = self._buffer(1, model.config.stack.width)
        self._stack(model.stack, joined, branch(model_state, "stack"), position, normed.rows)
        new = self._product(normed, model.head.weight, None)
        frame = named["frame"]
        self._add(k.Advance(new.rows, new.width, k.Rows.of(logits), frame, position.data_ptr()))

    def _decoder(self, step: FrameStep, codes: object, state: State) -> _Signal:
        x = self._buffer(1, step.codec.config.dimension)
        self._embed(codes, step.codec.quantizer.codebooks[0].embed, x.rows)
        through_elu = False
        layers = step.codec.decoder.model
        for index, layer in enumerate(layers):
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
        self, conv: CausalConv1d, x: _Signal, state: State, through_elu: bool, activation: int = k.NONE
    ) -> _Signal:
        context = leaf(state, "context") if conv.context else None
        seen = self._window(x, conv.context, context, through_elu) if context is not None or through_elu else x
        matrix, bias = conv.matrix()
        times, step = x.times // conv.stride, conv.stride * x.width
        # A panel has room for the outputs of several samples where one has few: the windows of neighbours as one.
        together = gcd(times, max(1, self._panel // conv.outputs))
        shifted = torch.zeros(together, conv.outputs, matrix.shape[1] + (together - 1) * step)
        for sample in range(together):
            shifted[sample, :, sample * step : sample * step + matrix.shape[1]] = matrix
        bias = bias.repeat(together)
        y = self._product(seen, shifted.flatten(0, 1), bias, times // together, together * step, activation)
        return _Signal(y.rows, times, conv.outputs)

    def _transposed(self, conv: CausalConvTranspose1d, x: _Signal, state: State, through_elu: bool) -> _Signal:
        seen = self._window(x, 1, leaf(state, "previous"), through_elu)
        y = self._product(seen, *conv.matrix(), x.times, x.width)
        return _Signal(y.rows, y.times * conv.stride, conv.outputs)

    def _residual(self, block: ResidualBlock, x: _Signal, state: State) -> _Signal:
        first, second = block.block[1], block.block[3]
        assert isinstance(first, CausalConv1d) and isinstance(second, CausalConv1d)
        hidden = self._convolution(first, x, branch(state, "1"), True, k.ELU)
        y = self._convolution(block.shortcut, x, {}, False)
        self._product(hidden, *second.matrix(), add_to=y)
        return y

    def _lstm(self, layer: ResidualLSTM, x: _Signal, state: State) -> None:
        """Its output is added to ``x``."""
        hidden, cell = leaf(state, "hidden"), leaf(state, "cell")
        y = x.rows
        for index in range(layer.layers):
            beside = self._buffer(1, 2 * x.width)
            own = k.Rows.of(hidden, index * x.width)
            self._add(k.Recall(y, x.width, own, beside.rows))
            gates = self._product(beside, *layer.gates(index))
            y = self._buffer(1, x.width).rows
            self._add(k.Cell(gates.rows, x.width, k.Rows.of(cell, index * x.width), own, y))
        self._add(k.Add(y, x.width, x.rows))

    def _mel(self, step: FrameStep, audio: _Signal, tail: Tensor) -> _Signal:
        mel = step.mel
        size = mel.config.window
        angle = -2 * torch.pi * torch.arange(size // 2, dtype=torch.float64) / size
        cosine, sine = self._keep(angle.cos().float()), self._keep(angle.sin().float())
        bins = self._buffer(1, size // 2 + 1)
        window = self._keep(mel.window)
        addresses = (window.data_ptr(), cosine.data_ptr(), sine.data_ptr())
        self._add(k.Spectrum(audio.rows, HOP, size, *addresses, k.Rows.of(tail), bins.rows))
        slices = self._product(bins, mel.bank.t(), None)
        self._add(k.LogScale(slices.rows, slices.width, mel.config.floor))
        return slices

    def _stack(self, stack: Stack, x: _Signal, state: State, position: Tensor, out: k.Rows) -> None:
        """``x`` is the residual stream, and changed."""
        config = stack.config
        cosine, sine = self._keep(stack.rotary.cosine), self._keep(stack.rotary.sine)
        normed, mixed = self._buffer(1, config.width), self._buffer(1, config.width)
        turned, scores = self._buffer(1, config.width), self._buffer(config.heads, config.window)
        for index, block in enumerate(stack.blocks):
            ring = branch(state, str(index))
            self._norm(x, block.attention_norm.weight, normed.rows)
            heads = self._product(normed, block.attention.query_key_value.weight, None)
            sizes = (config.heads, config.kv_heads, config.head_width, config.window)
            angles = (cosine.data_ptr(), sine.data_ptr(), PERIOD, position.data_ptr())
            held = (k.Rows.of(leaf(ring, "keys")), k.Rows.of(leaf(ring, "values")))
            self._add(k.Attention(heads.rows, *sizes, *angles, *held, turned.rows, scores.rows, mixed.rows))
            self._product(mixed, block.attention.output.weight, None, add_to=x)
            self._norm(x, block.mlp_norm.weight, normed.rows)
            hidden = self._product(normed, block.up.weight, None, activation=k.GELU)
            self._product(hidden, block.down.weight, None, add_to=x)
        self._norm(x, stack.norm.weight, out)

    def _window(self, x: _Signal, context: int, state: Tensor | None, through_elu: bool) -> _Signal:
        seen = self._buffer(context + x.times, x.width)
        held = k.Rows(0, 0) if state is None else k.Rows.of(state)
        self._add(k.Window(x.rows, x.times, x.width, context, through_elu, held, seen.rows))
        return seen

    def _embed(self, codes: object, table: Tensor, out: k.Rows) -> None:
        self._add(k.Embed(codes, table.shape[1], self._keep(table).data_ptr(), out))

    def _norm(self, x: _Signal, weight: Tensor, out: k.Rows) -> None:
        self._add(k.Norm(x.rows, x.width, self._keep(weight).data_ptr(), out))

    def _product(
        self,
        x: _Signal,
        weight: Tensor,
        bias: Tensor | None,
        times: int | None = None,
        step: int | None = None,
        activation: int = k.NONE,
        add_to: _Signal | None = None,
    ) -> _Signal:
        """Rows of ``x``, ``times`` of them each ``step`` floats on, times ``weight`` ``[N, K]``."""
        times, step = times or x.times, step or x.width
        outputs, inputs = weight.shape
        packed, padded = self._pack(weight, bias)
        y = add_to or self._buffer(times, outputs)
        sizes = (times, step, inputs, outputs)
        kernel = k.Linear(x.rows, *sizes, packed.data_ptr(), padded.data_ptr(), y.rows, activation, add_to is not None)
        half = packed.dtype == torch.float16
        self._library.whispergpt_linear(self._handle, ctypes.byref(kernel), half)
        return y

    def _pack(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Panels of weights, in half precision if that changes none, and the padded bias."""
        outputs, inputs = weight.shape
        panels = -(-outputs // self._panel)
        padded = torch.zeros(panels * self._panel, inputs)
        padded[:outputs] = weight
        packed = padded.view(panels, self._panel, inputs).transpose(1, 2).contiguous()
        if torch.equal(packed.half().float(), packed):
            packed = packed.half()
        shift = torch.zeros(panels * self._panel)
        if bias is not None:
            shift[:outputs] = bias
        return self._keep(packed), self._keep(shift)

    def _buffer(self, times: int, width: int) -> _Signal:
        return _Signal(k.Rows.of(self._keep(torch.zeros(self._count, times * width))), times, width)

    def _keep(self, tensor: Tensor) -> Tensor:
        kept = tensor.detach().contiguous()
        assert kept.device.type == "cpu"
        self._kept.append(kept)
        return kept

    def _stage(self, name: str) -> None:
        self._library.whispergpt_stage(self._handle, STAGES.index(name))

    def _add(self, kernel: k.Kernel) -> None:
        getattr(self._library, kernel.symbol)(self._handle, ctypes.byref(kernel))


def _check_sizes(step: FrameStep) -> None:
    config = step.model.config
    stacks = [config.stack, *([config.spectrogram] if config.spectrogram else [])]
    whole = [s.width for s in stacks]
    whole += [step.codec.config.dimension, step.codec.config.n_filters * 2 ** len(step.codec.config.ratios)]
    if any(width % _LANES for width in whole) or any(s.head_width % (2 * _LANES) for s in stacks):
        raise NativeError(
            f"the kernels take widths that are multiples of {_LANES}, {2 * _LANES} for heads, and this model has others"
        )
    window = config.mel.window
    if window & (window - 1) or not 2 * HOP <= window <= 4096:
        raise NativeError("the kernels take mel windows of 1024, 2048 or 4096 samples")
