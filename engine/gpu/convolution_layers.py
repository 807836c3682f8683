"""Convolutions of the codec as launches: plain, strided and transposed ones, residual units, and whole stages."""

from __future__ import annotations

from torch import Tensor, nn

from whispergpt.engine.gpu.block_sizes import LEAST, WIDEST_JOINED
from whispergpt.engine.gpu.context_layers import Context, ContextLayers
from whispergpt.engine.gpu.emitter import Signal
from whispergpt.engine.gpu.kernels import convolution, sound, upsampling
from whispergpt.engine.gpu.language import next_power_of_two
from whispergpt.engine.gpu.launch import Cost, blocks, bytes_of
from whispergpt.engine.model.convolution import CausalConv1d, CausalConvTranspose1d
from whispergpt.engine.model.seanet import ResidualBlock
from whispergpt.engine.model.streaming import State, branch, leaf


class ConvolutionLayers(ContextLayers):
    """Appends convolutions of the codec to a program."""

    def _product_of_windows(
        self,
        x: Signal,
        state: Tensor | None,
        before: int,
        samples: int,
        step: int,
        matrix: Tensor,
        bias: Tensor,
        through_elu: bool,
        y: Signal,
        mirrored: bool,
    ) -> None:
        """Emit ``samples`` outputs of each row by a matrix ``[N, K]``, over windows ``step`` numbers apart."""
        outputs, inputs = matrix.shape
        weight, shift = self._emitter.weight(matrix.t()), self._emitter.constant(bias)
        held = self._emitter.slots if state is None else state
        block, at_once = self._blocks.outputs_of(outputs), self._samples_of(samples)
        self._emitter.emit(
            convolution.convolution,
            lambda rows: (rows * samples // at_once, blocks(outputs, block)),
            {
                "x": x.memory,
                "state": held,
                "cold": self._cold if mirrored else self._emitter.slots,
                "weight": weight,
                "bias": shift,
                "y": y.memory,
                "SAMPLES": samples,
                "STEP": step,
                "ROW": x.times * x.width,
                "BEFORE": before,
                "HELD": held.stride(0),
                "WIDTH": x.width,
                "K": inputs,
                "N": outputs,
                "THROUGH_ELU": through_elu,
                "MIRRORED": mirrored,
                "BM": at_once,
                "BN": block,
                "BK": self._blocks.inputs_of(inputs),
            },
            Cost(
                row_bytes=x.row_bytes + y.row_bytes + 4 * before,
                shared_bytes=bytes_of(weight) + bytes_of(shift),
                operations=2 * inputs * outputs * samples,
            ),
            warps=self._blocks.warps,
        )

    def _convolution(self, conv: CausalConv1d, x: Signal, state: State, through_elu: bool, exact: bool) -> Signal:
        context = leaf(state, "context") if conv.context else None
        samples = x.times // conv.stride
        y = self._output(samples, conv.outputs, exact)
        before, step, mirrored = (
            conv.context * x.width,
            conv.stride * x.width,
            self._cold is not None and conv.context > 0,
        )
        self._product_of_windows(x, context, before, samples, step, *conv.matrix(), through_elu, y, mirrored)
        if context is not None:
            self._keep(x, context, through_elu)
        return y

    def _transposed(
        self, conv: CausalConvTranspose1d, x: Signal, state: State, through_elu: bool, exact: bool
    ) -> Signal:
        previous = leaf(state, "previous")
        y = self._output(x.times * conv.stride, conv.outputs, exact)
        # Nothing is mirrored: before the first frame there is silence.
        self._product_of_windows(x, previous, x.width, x.times, x.width, *conv.matrix(), through_elu, y, mirrored=False)
        self._keep(x, previous, through_elu)
        return y

    def _residual(self, unit: ResidualBlock, x: Signal, state: State) -> Signal:
        first, second = unit.block[1], unit.block[3]
        assert isinstance(first, CausalConv1d) and isinstance(second, CausalConv1d)
        assert second.kernel == unit.shortcut.kernel == 1
        (weight, bias), (back, back_bias), (shortcut, shortcut_bias) = (
            conv.matrix() for conv in (first, second, unit.shortcut)
        )
        matrices = {
            "weight": self._emitter.weight(weight.t()),
            "shortcut": self._emitter.weight(shortcut.t()),
            "back": self._emitter.weight(back.t()),
        }
        context = leaf(branch(state, "1"), "context") if first.context else None
        y = self._emitter.operand_buffer(x.times, x.width)
        scratch = self._emitter.operand_buffer(x.times, first.outputs) if self._blocks.in_parts else y
        before = first.context * x.width
        block, at_once = self._blocks.outputs_of(x.width), self._samples_of(x.times)
        self._emitter.emit(
            convolution.residual,
            lambda rows: (rows * x.times // at_once,),
            {
                "x": x.memory,
                "state": self._emitter.slots if context is None else context,
                "cold": self._emitter.slots if self._cold is None else self._cold,
                **matrices,
                "bias": self._emitter.constant(bias),
                "sum_bias": self._emitter.constant(back_bias + shortcut_bias),
                "scratch": scratch.memory,
                "y": y.memory,
                "SAMPLES": x.times,
                "BEFORE": before,
                "HELD": 0 if context is None else context.stride(0),
                "WIDTH": x.width,
                "HIDDEN": first.outputs,
                "K": weight.shape[1],
                "MIRRORED": self._cold is not None and before > 0,
                "IN_PARTS": self._blocks.in_parts,
                "BM": at_once,
                "BH": max(LEAST, next_power_of_two(first.outputs)),
                "BN": block,
                "BK": self._blocks.inputs_of(x.width),
            },
            Cost(
                row_bytes=x.row_bytes + y.row_bytes + 4 * before,
                shared_bytes=sum(bytes_of(matrix) for matrix in matrices.values()),
                operations=2 * x.times * sum(matrix.numel() for matrix in matrices.values()),
            ),
            warps=self._blocks.warps,
        )
        if context is not None:
            self._keep(x, context, through_elu=True)
        return y

    def _joins(self, conv: CausalConvTranspose1d, following: list[nn.Module]) -> bool:
        """Return whether ``kernels.upsampling`` computes a transposed convolution with the unit that follows it.

        It is made for units that see two samples back, for signals that are not mirrored, and for widths whose matrices
        fit into shared memory.
        """
        unit = following[0] if following else None
        return (
            isinstance(unit, ResidualBlock)
            and isinstance(first := unit.block[1], CausalConv1d)
            and first.kernel == 3
            and conv.stride >= 2
            and conv.outputs <= WIDEST_JOINED
            and self._cold is None
            and self._blocks.joined
        )

    def _upsampling(
        self, conv: CausalConvTranspose1d, unit: ResidualBlock, x: Signal, state: State, unit_state: State
    ) -> Signal:
        """Emit a transposed convolution, behind ELU, and the residual unit that follows it."""
        first, second = unit.block[1], unit.block[3]
        assert isinstance(first, CausalConv1d) and isinstance(second, CausalConv1d)
        constant, weight = self._emitter.constant, self._emitter.weight
        spread, spread_bias = conv.matrix()
        (inner, inner_bias), (back, back_bias), (shortcut, shortcut_bias) = (
            each.matrix() for each in (first, second, unit.shortcut)
        )
        named = {"weight": spread, "inner": inner, "shortcut": shortcut, "back": back}
        matrices = {name: weight(matrix.t()) for name, matrix in named.items()}
        previous, context = leaf(state, "previous"), leaf(branch(unit_state, "1"), "context")
        y = self._emitter.operand_buffer(x.times * conv.stride, conv.outputs)
        end = self._emitter.buffer(2, conv.outputs)
        # Of the widest signals a thread cannot hold as many numbers.
        at_once = self._samples_of(x.times) // (2 if conv.outputs > WIDEST_JOINED // 4 else 1)
        again = 2 * 2 * x.width * conv.outputs  # multiplications of the two samples that are computed again
        self._emitter.emit(
            upsampling.upsampling,
            lambda rows: (rows * x.times // at_once,),
            {
                "x": x.memory,
                "previous": previous,
                "context": context,
                "counts": self._emitter.slots if self._counts is None else self._counts,
                **matrices,
                "bias": constant(spread_bias),
                "inner_bias": constant(inner_bias),
                "sum_bias": constant(back_bias + shortcut_bias),
                "y": y.memory,
                "end": end.memory,
                "SAMPLES": x.times,
                "FRAMES": self._frames,
                "COUNTED": self._counts is not None,
                "STRIDE": conv.stride,
                "HELD": previous.stride(0),
                "KEPT": context.stride(0),
                "INPUTS": x.width,
                "WIDTH": conv.outputs,
                "HIDDEN": first.outputs,
                "BM": at_once,
                "BC": max(LEAST, next_power_of_two(conv.outputs)),
                "BH": max(LEAST, next_power_of_two(first.outputs)),
                "BK": self._blocks.inputs_of(2 * x.width),
            },
            Cost(
                row_bytes=x.row_bytes + y.row_bytes + end.row_bytes + 4 * x.width + 2 * 4 * conv.outputs,
                shared_bytes=sum(map(bytes_of, matrices.values())),
                operations=2
                * x.times
                * (spread.numel() + again + conv.stride * (inner.numel() + back.numel() + shortcut.numel())),
            ),
            warps=8,
        )
        self._keep(x, previous, through_elu=True)
        self._contexts.append(Context(end, context, 0, 2 * conv.outputs, through_elu=False, replaces=True))
        return y

    def _sound(self, conv: CausalConv1d, x: Signal, state: State) -> Signal:
        """Emit the last convolution of a decoder, behind ELU."""
        context = leaf(state, "context")
        matrix, bias = conv.matrix()
        audio, at_once = self._emitter.buffer(x.times, 1), self._samples_of(x.times)
        self._emitter.emit(
            sound.sound,
            lambda rows: (rows * x.times // at_once,),
            {
                "x": x.memory,
                "state": context,
                "cold": self._emitter.slots if self._cold is None else self._cold,
                "weight": self._emitter.constant(matrix),
                "bias": self._emitter.constant(bias),
                "audio": audio.memory,
                "SAMPLES": x.times,
                "HELD": context.stride(0),
                "WIDTH": x.width,
                "TAPS": conv.kernel,
                "MIRRORED": self._cold is not None,
                "BM": at_once,
                "BC": next_power_of_two(x.width),
            },
            Cost(
                row_bytes=x.row_bytes + audio.row_bytes + 4 * conv.context * x.width,
                shared_bytes=bytes_of(matrix),
                operations=2 * matrix.numel() * x.times,
            ),
        )
        self._keep(x, context, through_elu=True)
        return audio
