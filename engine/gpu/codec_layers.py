"""The layers of the codec and the spectrogram as launches, for programs of frames and of prompts.

Within a program kernels only read the contexts that layers keep in the state: a launch at its end writes all of them
(``keep_contexts``). So no order of a kernel's programs matters. The cells of an LSTM are the exception, because each is
read and written by one program.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whispergpt.engine.config import CODEBOOK_SIZE, HOP
from whispergpt.engine.gpu.emitter import Emitter, Signal
from whispergpt.engine.gpu.kernels import contexts, convolution, lstm, quantizer, sound, spectrum, upsampling
from whispergpt.engine.gpu.language import INTERPRETED, next_power_of_two
from whispergpt.engine.gpu.launch import ROW_BLOCK, Cost, blocks
from whispergpt.engine.model.convolution import CausalConv1d, CausalConvTranspose1d, ResidualLSTM
from whispergpt.engine.model.mel import CausalMel
from whispergpt.engine.model.seanet import Decoder, Encoder, ResidualBlock
from whispergpt.engine.model.streaming import State, branch, leaf

LEAST = 16
"""Smallest size of a block that ``tl.dot`` takes."""
WIDEST_JOINED = 128
"""Most channels of a stage that one kernel computes."""


@dataclass(frozen=True)
class Blocks:
    """Block sizes of the kernels: numbers that one program computes.

    Attributes:
        samples: output samples of a product, of any rows: at most ``ROW_BLOCK``, or a multiple of it.
        outputs: outputs of a product for each sample.
        inputs: inputs that are multiplied at once.
        units: units of an LSTM.
        rows: rows whose contexts are kept.
        slices: frames whose spectrum is computed.
        joined: whether one kernel computes a stage of the decoder.
        warps: of a convolution.
        in_parts: whether the hidden vectors of residual units go through memory.
    """

    samples: int = 64
    outputs: int = 64
    inputs: int = 32
    units: int = 32
    rows: int = 8
    slices: int = 32
    joined: bool = True
    warps: int = 4
    in_parts: bool = False

    def samples_of(self, count: int) -> int:
        """Return the samples of a program where a block of rows has ``count``: the largest power of two that fits."""
        return min(self.samples, count & -count)

    def outputs_of(self, count: int) -> int:
        """Return the outputs of a program where there are ``count``."""
        return min(self.outputs, max(LEAST, next_power_of_two(count)))

    def inputs_of(self, count: int) -> int:
        """Return the inputs at once where there are ``count``."""
        return min(self.inputs, max(LEAST, next_power_of_two(count)))


ON_A_GPU = {torch.bfloat16: Blocks(), torch.float32: Blocks(inputs=16, joined=False, warps=8, in_parts=True)}
"""Blocks on GPUs by the format of products: with these no kernel needs more registers than a thread has."""
IN_THE_INTERPRETER = Blocks(samples=4096, outputs=1024, inputs=512, units=256, rows=64, slices=64)
"""Blocks of Triton's interpreter, where an operation takes about as long for many numbers as for one."""


@dataclass(frozen=True)
class Context:
    """A signal, and the state whose slots, from ``offset`` on, keep its last ``size`` numbers."""

    signal: Signal
    state: Tensor
    offset: int
    size: int
    through_elu: bool
    replaces: bool = False
    """Whether the signal is only as long as the state."""

    def line(self, frames: int) -> list[int]:
        """Return the context's line in the table of ``kernels.contexts``."""
        memory, state = self.signal.memory, self.state
        return [
            memory.data_ptr(),
            memory.stride(0),
            self.signal.times * self.signal.width // frames,
            state.data_ptr() + self.offset * state.element_size(),
            state.stride(0),
            self.size,
            int(self.through_elu),
            int(memory.dtype == torch.bfloat16),
            int(self.replaces),
        ]


class CodecLayers:
    """Appends layers of the codec to a program, for ``frames`` frames of each row.

    Args:
        emitter: the program.
        frames: frames of each row in one run.
        counts: how many of them a row has, int32 ``[rows]``; None if every row has all.
        cold: 1 for rows whose stream starts with these frames, int32 ``[rows]``; None if none does. It matters with
            reflection padding alone, and such rows have at least ``frames_to_prime`` frames.
    """

    def __init__(
        self, emitter: Emitter, frames: int = 1, counts: Tensor | None = None, cold: Tensor | None = None
    ) -> None:
        self._emitter, self._frames, self._counts, self._cold = emitter, frames, counts, cold
        self._blocks = IN_THE_INTERPRETER if INTERPRETED else ON_A_GPU[emitter.dtype]
        self._rows = min(ROW_BLOCK, emitter.rows)  # every batch has a multiple of these
        self._contexts: list[Context] = []

    @property
    def _precision(self) -> str:
        """Return the precision of products whose operands stay in float32 in every program."""
        return "ieee" if self._emitter.dtype == torch.float32 else "tf32x3"

    def entries(self, codes: Tensor, tables: list[Tensor], book_stride: int = 1) -> Signal:
        """Add up the entries of codes, int32: those of a row in one line, ``book_stride`` numbers between codebooks."""
        width = tables[0].shape[1]
        latent = self._emitter.buffer(self._frames, width)
        at_once = min(self._samples_of(self._frames), self._blocks.samples // 4)
        self._emitter.emit(
            quantizer.entries_of,
            lambda rows: (rows * self._frames // at_once,),
            {
                "codes": codes,
                "table": self._emitter.constant(torch.stack(tables)),
                "latent": latent.memory,
                "ROW": codes.stride(0),
                "BOOK": book_stride,
                "FRAMES": self._frames,
                "BOOKS": len(tables),
                "SIZE": CODEBOOK_SIZE,
                "WIDTH": width,
                "BM": at_once,
                "BW": next_power_of_two(width),
            },
            Cost(row_bytes=latent.row_bytes * (1 + len(tables)) + 4 * len(tables) * self._frames),
        )
        return latent

    def nearest(self, latent: Signal, tables: list[Tensor], codes: Tensor, book_stride: int) -> None:
        """Emit the search of each frame's ``codes``, laid out as for ``entries``; ``latent`` is changed."""
        table = torch.stack(tables)
        turned, squares = 2 * table.transpose(1, 2), table.square().sum(2)
        constants = [self._emitter.constant(each) for each in (table, turned, squares)]
        at_once = min(self._samples_of(self._frames), max(LEAST, self._blocks.samples // 4))
        self._emitter.emit(
            quantizer.nearest,
            lambda rows: (rows * self._frames // at_once,),
            {
                "latent": latent.memory,
                "table": constants[0],
                "turned": constants[1],
                "squares": constants[2],
                "codes": codes,
                "ROW": codes.stride(0),
                "BOOK": book_stride,
                "FRAMES": self._frames,
                "BOOKS": len(tables),
                "SIZE": CODEBOOK_SIZE,
                "WIDTH": latent.width,
                "PRECISION": self._precision,
                "BM": at_once,
                "BN": self._blocks.outputs,
                "BK": self._blocks.inputs_of(latent.width),
                "BW": next_power_of_two(latent.width),
            },
            Cost(
                row_bytes=latent.row_bytes * (2 + 2 * len(tables)) + 4 * len(tables) * self._frames,
                shared_bytes=sum(map(bytes_of, constants[1:])),
                operations=2 * table.numel() * self._frames,
            ),
        )

    def seanet(self, module: Encoder | Decoder, x: Signal, state: State) -> Signal:
        """Emit an encoder or a decoder, layer by layer; return latents or samples, in float32."""
        layers = list(module.model)
        joined: CausalConvTranspose1d | None = None
        for index, layer in enumerate(layers):
            if isinstance(layer, nn.ELU):
                continue
            own, last = branch(state, str(index)), index == len(layers) - 1
            through_elu = index > 0 and isinstance(layers[index - 1], nn.ELU)
            # The LSTM's input is added to its output, and the last layer's output leaves the codec: both in float32.
            exact = last or (index + 1 < len(layers) and isinstance(layers[index + 1], ResidualLSTM))
            if isinstance(layer, CausalConv1d) and layer.outputs == 1 and layer.stride == 1:
                x = self._sound(layer, x, own)
            elif isinstance(layer, CausalConv1d):
                x = self._convolution(layer, x, own, through_elu, exact)
            elif isinstance(layer, CausalConvTranspose1d):
                # Few programs have a whole stage of one sample a frame to compute, so there the two stay apart.
                if x.times > self._frames and self._joins(layer, layers[index + 1 : index + 2]):
                    joined = layer
                else:
                    x = self._transposed(layer, x, own, through_elu, exact)
            elif isinstance(layer, ResidualBlock):
                if joined is None:
                    x = self._residual(layer, x, own)
                else:
                    x = self._upsampling(joined, layer, x, branch(state, str(index - 1)), own)
                    joined = None
            elif isinstance(layer, ResidualLSTM):
                x = self._lstm(layer, x, own)
            else:
                raise TypeError(f"there is no kernel for {type(layer).__name__}")
        return x

    def _output(self, times: int, width: int, exact: bool) -> Signal:
        return self._emitter.buffer(times, width) if exact else self._emitter.operand_buffer(times, width)

    def _keep(self, x: Signal, state: Tensor, through_elu: bool, offset: int = 0, size: int | None = None) -> None:
        """Have the end of ``x`` written to each slot of ``state`` by the end of the program.

        ``offset``, ``size``: part of the slot; all of it by default.
        """
        assert state.dtype == torch.float32 and state[0].is_contiguous()
        whole = state[0].numel() if size is None else size
        self._contexts.append(Context(x, state, offset, whole, through_elu))

    def keep_end(self, x: Signal, state: Tensor) -> None:
        """Have the last numbers of ``x`` written to ``state`` ``[slots, numbers]`` by the end of the program."""
        self._keep(x, state, through_elu=False)

    def _samples_of(self, times: int) -> int:
        """Return how many samples a program computes where a row has ``times``."""
        return self._blocks.samples_of(self._rows * times)

    def keep_contexts(self) -> None:
        """Emit the writing of all contexts to the state: the end of a program.

        The table has addresses. Other launches of the program have the tensors there as arguments, and so keep them.
        """
        kept, self._contexts = self._contexts, []
        if not kept:
            return
        table = torch.tensor([context.line(self._frames) for context in kept], device=self._emitter.device)
        rows_at_once = min(self._blocks.rows, self._rows)
        self._emitter.emit(
            contexts.contexts,
            lambda rows: (rows // rows_at_once, len(kept)),
            {
                "table": table,
                "frames": self._emitter.slots if self._counts is None else self._counts,
                "FRAMES": self._frames,
                "COUNTED": self._counts is not None,
                "COLUMNS": table.shape[1],
                "BM": rows_at_once,
                "BW": 32 * rows_at_once,
            },
            Cost(row_bytes=sum(2 * 4 * context.size for context in kept)),
        )

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

    def to_16_bits(self, audio: Signal, samples: Tensor, finite: Tensor) -> None:
        """Convert each row's ``audio`` to ``samples``, int16, and ``finite``, uint8, to 1 if all are finite."""
        at_once = self._blocks.rows
        self._emitter.emit(
            sound.to_16_bits,
            lambda rows: (rows // at_once,),
            {
                "audio": audio.memory,
                "samples": samples,
                "finite": finite,
                "SAMPLES": audio.times,
                "BM": at_once,
                "BT": next_power_of_two(audio.times),
            },
            Cost(row_bytes=audio.row_bytes + 2 * audio.times + 1),
        )

    def _lstm(self, layer: ResidualLSTM, x: Signal, state: State) -> Signal:
        """Emit an LSTM, whose output is added to ``x``."""
        hidden, cell = leaf(state, "hidden"), leaf(state, "cell")
        width = x.width
        y, total = x, self._emitter.buffer(self._frames, width)
        for index in range(layer.layers):
            matrix, bias = layer.gates(index)
            out = self._emitter.buffer(self._frames, width)
            weight = self._emitter.weight(matrix.t())
            for frame in range(self._frames):
                self._lstm_frame(y, hidden, cell, index, weight, bias, out, x, total, frame, index + 1 == layer.layers)
            self._keep(out, hidden, through_elu=False, offset=index * width, size=width)
            y = out
        return total

    def _lstm_frame(
        self,
        x: Signal,
        hidden: Tensor,
        cell: Tensor,
        layer: int,
        weight: Tensor,
        bias: Tensor,
        out: Signal,
        skip: Signal,
        total: Signal,
        frame: int,
        last: bool,
    ) -> None:
        width, layers = x.width, hidden.shape[1]
        units = min(self._blocks.units, max(LEAST, next_power_of_two(width)))
        row_bytes = 4 * width * (5 + (2 if last else 0))  # input, hidden, cell twice, output; skip and total
        self._emitter.emit(
            lstm.lstm,
            lambda rows: (rows // self._rows, blocks(width, units)),
            {
                "x": x.memory,
                "hidden": hidden[:, layer],
                "cell": cell[:, layer],
                "frames": self._emitter.slots if self._counts is None else self._counts,
                "weight": weight,
                "bias": self._emitter.constant(bias),
                "out": out.memory,
                "skip": skip.memory,
                "total": total.memory,
                "frame": frame,
                "FIRST": frame == 0,
                "FRAMES": self._frames,
                "WIDTH": width,
                "LAYERS": layers,
                "COUNTED": self._counts is not None,
                "LAST": last,
                "BM": self._rows,
                "BU": units,
                "BK": self._blocks.inputs_of(width),
            },
            Cost(row_bytes, bytes_of(weight), 2 * weight.numel()),
        )

    def slices(self, mel: CausalMel, audio: Signal, tail: Tensor) -> Signal:
        """Emit the mel slices ``[frames, n_mels]`` of each row's samples."""
        size, frames = mel.config.window, self._frames
        cosine, sine = transform_tables(size)
        half, quarter = size // 2, size // 4
        bins = self._emitter.buffer(frames, half)
        shape = torch.cat([mel.window, mel.window.new_zeros(1)])
        # Even bins first; the highest bin has no part in any band.
        bank = torch.cat([mel.bank[0:half:2], mel.bank[1:half:2]])
        assert float(mel.bank[half].max()) < 1e-6
        tables = [self._emitter.constant(table) for table in (shape, cosine, sine)]
        at_once, together = self._blocks.slices, min(self._blocks.outputs, quarter)
        self._emitter.emit(
            spectrum.magnitudes,
            lambda rows: (rows * frames // at_once, half // together),
            {
                "audio": audio.memory,
                "tail": tail,
                "shape": tables[0],
                "cosine": tables[1],
                "sine": tables[2],
                "bins": bins.memory,
                "FRAMES": frames,
                "HOP": HOP,
                "SIZE": size,
                "PRECISION": self._precision,
                "BM": at_once,
                "BN": together,
                "BK": min(self._blocks.inputs, quarter),
            },
            Cost(
                row_bytes=audio.row_bytes + 4 * mel.history + bins.row_bytes,
                shared_bytes=sum(map(bytes_of, tables)),
                operations=2 * 4 * quarter * quarter * frames,
            ),
            warps=8,
            stages=2,
        )
        self._keep(audio, tail, through_elu=False)
        return self._bands(bins, self._emitter.constant(bank), mel.config.floor)

    def _bands(self, bins: Signal, bank: Tensor, floor: float) -> Signal:
        slices = self._emitter.operand_buffer(self._frames, bank.shape[1])
        at_once, block = self._blocks.slices, min(128, max(LEAST, next_power_of_two(bank.shape[1])))
        self._emitter.emit(
            spectrum.bands,
            lambda rows: (rows * self._frames // at_once, blocks(bank.shape[1], block)),
            {
                "bins": bins.memory,
                "bank": bank,
                "slices": slices.memory,
                "FRAMES": self._frames,
                "K": bank.shape[0],
                "N": bank.shape[1],
                "FLOOR": floor,
                "PRECISION": self._precision,
                "BM": at_once,
                "BN": block,
                "BK": min(self._blocks.inputs, bank.shape[0]),
            },
            Cost(bins.row_bytes + slices.row_bytes, bytes_of(bank), 2 * bank.numel() * self._frames),
            warps=8,
        )
        return slices


def transform_tables(size: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines ``[2, size/4, size/4]`` for ``kernels.spectrum``: parity of the bin, place, bin."""
    quarter = size // 4
    place, number = torch.arange(quarter)[:, None], torch.arange(quarter)[None, :]
    turns = torch.stack([(2 * number + odd) * place % size for odd in (0, 1)]).double() / size
    return (2 * torch.pi * turns).cos().float(), (2 * torch.pi * turns).sin().float()


def bytes_of(tensor: Tensor) -> int:
    """Return the bytes of a tensor's numbers."""
    return tensor.numel() * tensor.element_size()
