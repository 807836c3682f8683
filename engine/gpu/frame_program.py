"""The frame step laid out as a program of Triton kernels, over the same weights and the same state.

It computes for the slots of its rows what ``FrameStep.forward`` computes, as a parity test checks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.engine.config import HOP
from whispergpt.engine.gpu.codec_program import decode_frame, mel_slices
from whispergpt.engine.gpu.emitter import Signal
from whispergpt.engine.gpu.kernels import draw, finish
from whispergpt.engine.gpu.language import next_power_of_two
from whispergpt.engine.gpu.launch import Cost
from whispergpt.engine.gpu.layers import LayerEmitter
from whispergpt.engine.gpu.nearest_stage import nearest_codes
from whispergpt.engine.low_pass import LowPass
from whispergpt.engine.model.fine.nearest_stage import NearestStage
from whispergpt.engine.model.frame_step import LOST, FrameStep
from whispergpt.engine.model.streaming import State, branch, leaf
from whispergpt.engine.model.whisper_gpt import WhisperGPT


class FrameProgram(LayerEmitter):
    """The frame step for up to ``rows`` of the slots in ``state``; ``slots`` says which.

    Args:
        state: on the program's device, with rings ``[slots, kv_heads, window, head_width]`` in any format.
        dtype: of products.

    Attributes:
        codes: codes of the last frame, int32 ``[rows, K]``, ``LOST`` where a stream's numbers are no longer finite.
        samples: its samples, int16 ``[rows, 320]``.
        low_pass: limits of the slots' streams, by which their samples are filtered.
    """

    def __init__(self, step: FrameStep, state: State, rows: int, dtype: torch.dtype) -> None:
        logits = leaf(state, "logits")
        super().__init__(rows, logits.device, dtype)
        self._state = state  # kept alive, because launches have its tensors
        self.codes = torch.zeros(self.rows, step.books, dtype=torch.int32, device=self.device)
        self.samples = torch.zeros(self.rows, HOP, dtype=torch.int16, device=self.device)
        self._finite = torch.ones(self.rows, dtype=torch.uint8, device=self.device)
        self.low_pass = LowPass(len(logits), self.device)
        with torch.no_grad():
            self._lay_out(step, state, logits)

    def _lay_out(self, step: FrameStep, state: State, logits: Tensor) -> None:
        model, sampler = step.model, branch(state, "sampler")
        self.stage("lm")
        self._sample(logits, sampler)
        entries = step.codec.quantizer.entries
        if isinstance(model.fine, NearestStage):
            self.stage("fine")
            latent = nearest_codes(self, model.fine, entries, self.codes, leaf(branch(state, "model"), "hidden"))
        elif model.fine is not None:
            self.stage("fine")
            drawn = {name: leaf(sampler, name) for name in ("seed", "frame", "temperature")}
            latent = self.finer(model.fine, entries, self.codes, state, drawn)
        else:
            self.stage("codec")
            latent = self.buffer(1, step.codec.config.dimension)
            self.join(self.codes, entries[0], None, None, latent)
        self.stage("codec")
        decoder, held = step.codec.decoder, branch(state, "decoder")
        audio = decode_frame(self, decoder, latent, held, self.samples, self._finite, self.low_pass)
        mel = None
        if model.hybrid:
            self.stage("mel")
            mel = mel_slices(self, step.mel, audio, branch(state, "mel"))
        self.stage("lm")
        self._hear(model, mel, branch(state, "model"), logits)
        self._finish(logits, leaf(sampler, "frame"), leaf(branch(state, "model"), "position"))

    def _sample(self, logits: Tensor, sampler: State) -> None:
        size = logits.shape[1]
        bits = size.bit_length() - 1
        assert size == 1 << bits and logits.stride(1) == 1
        settings = {name: leaf(sampler, name) for name in ("seed", "frame", "temperature", "top_k", "top_p")}
        self.emit(
            draw.sample,
            lambda rows: (rows,),
            {
                "logits": logits,
                **settings,
                "codes": self.codes,
                "CODES_STRIDE": self.codes.stride(0),
                "HELD": logits.stride(0),
                "SIZE": size,
                "BITS": bits,
            },
            Cost(row_bytes=4 * size + sum(value.element_size() for value in settings.values()) + 4),
        )

    def _hear(self, model: WhisperGPT, mel: Signal | None, state: State, logits: Tensor) -> None:
        """Emit the model over the frame's coarse code and slice: its state, and the next ``logits``."""
        position, table = leaf(state, "position"), model.code_embedding.weight
        joined = self.buffer(1, model.config.stack.width)
        slices, norm = None, None
        if model.slice_stack is not None and model.slice_projection is not None:
            assert mel is not None
            slices = self.product(mel, model.slice_projection.weight, model.slice_projection.bias)
            self.stack(model.slice_stack, slices, branch(state, "slices"), position)
            norm = model.slice_stack.norm.weight
        self.join(self.codes, table, slices, norm, joined)
        last = self.stack(model.stack, joined, branch(state, "stack"), position)
        if model.fine is None:
            self.product(last, model.head.weight, norm=model.stack.norm.weight, out=logits)
            return
        hidden = leaf(state, "hidden")
        self.join(None, None, last, model.stack.norm.weight, hidden)
        self.product(hidden, model.head.weight, out=logits)

    def _finish(self, logits: Tensor, frame: Tensor, position: Tensor) -> None:
        size, books = logits.shape[1], self.codes.shape[1]
        self.emit(
            finish.finish,
            lambda rows: (rows,),
            {
                "finite": self._finite,
                "logits": logits,
                "codes": self.codes,
                "frame": frame,
                "position": position,
                "HELD": logits.stride(0),
                "SIZE": size,
                "BOOKS": books,
                "BB": next_power_of_two(books),
                "LOST": LOST,
            },
            Cost(row_bytes=4 * size + 4 * books + 1 + 2 * 16),
        )
