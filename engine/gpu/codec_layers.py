"""The layers of the codec and the spectrogram as launches, for programs of frames and of prompts.

Within a program kernels only read the contexts that layers keep in the state: a launch at its end writes all of them
(``keep_contexts``). So no order of a kernel's programs matters. The cells of an LSTM are the exception, because each is
read and written by one program.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whispergpt.engine.config import CODEBOOK_SIZE, HOP
from whispergpt.engine.gpu.block_sizes import LEAST
from whispergpt.engine.gpu.convolution_layers import ConvolutionLayers
from whispergpt.engine.gpu.emitter import Signal
from whispergpt.engine.gpu.kernels import lstm, quantizer, sound, spectrum
from whispergpt.engine.gpu.language import next_power_of_two
from whispergpt.engine.gpu.launch import Cost, blocks, bytes_of
from whispergpt.engine.low_pass import FRACTION_BITS, HISTORY, TAPS, LowPass, whole_coefficients
from whispergpt.engine.model.convolution import CausalConv1d, CausalConvTranspose1d, ResidualLSTM
from whispergpt.engine.model.mel import CausalMel
from whispergpt.engine.model.seanet import Decoder, Encoder, ResidualBlock
from whispergpt.engine.model.streaming import State, branch, leaf


class CodecLayers(ConvolutionLayers):
    """Appends layers of the codec to a program."""

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

    def to_16_bits(self, audio: Signal, samples: Tensor, finite: Tensor, low_pass: LowPass) -> None:
        """Convert each row's ``audio`` to ``samples``, int16, and filter these where its slot has a limit.

        ``finite``, uint8, becomes 1 for rows whose audio is finite. The work is counted as if all rows were limited.
        """
        filters = self._emitter.constant(whole_coefficients())
        self._emitter.emit(
            sound.to_16_bits,
            lambda rows: (rows,),
            {
                "audio": audio.memory,
                "numbers": low_pass.numbers,
                "history": low_pass.history,
                "filters": filters,
                "samples": samples,
                "finite": finite,
                "SAMPLES": audio.times,
                "TAPS": TAPS,
                "FRACTION_BITS": FRACTION_BITS,
                "BS": next_power_of_two(audio.times),
                "BH": next_power_of_two(HISTORY),
                "BT": audio.times & -audio.times,
            },
            Cost(
                row_bytes=audio.row_bytes + 2 * 2 * (audio.times + HISTORY) + 1 + 4,
                shared_bytes=bytes_of(filters),
                operations=2 * TAPS * audio.times,
            ),
            warps=2,
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
        width = x.width
        assert hidden.stride(0) == cell.stride(0)
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
                "HELD": hidden.stride(0),
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
                "HELD": tail.stride(0),
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
