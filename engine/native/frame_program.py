"""The frame step laid out as a program of compiled kernels, over the same weights and the same state.

It computes for the given slots what ``FrameStep.forward`` computes, as a parity test checks. The result of each stream
does not depend on the others: see `src/linear.h`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from whispergpt.engine.config import HOP
from whispergpt.engine.low_pass import LowPass
from whispergpt.engine.model.fine.drawn_stage import DrawnStage
from whispergpt.engine.model.fine.nearest_stage import NearestStage
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, branch, leaf
from whispergpt.engine.native import kernels as k
from whispergpt.engine.native.emitter import STAGES, Signal
from whispergpt.engine.native.layers import LayerEmitter, check_sizes
from whispergpt.engine.native.weights import Weights


class FrameProgram(LayerEmitter):
    """The frame step for up to ``rows`` of the slots in ``state``.

    Attributes:
        codes: codes of the last frame, int32 ``[rows, K]``; ``samples``: its samples, int16 ``[rows, 320]``.
        finite: whether these samples were finite, uint8 ``[rows]``.
        low_pass: limits of the slots' streams, by which their samples are filtered.

    Raises:
        NativeError: the kernels are not made for a model of these sizes.
    """

    def __init__(self, step: FrameStep, state: State, rows: int, weights: Weights) -> None:
        check_sizes(step)
        super().__init__(weights, rows)
        self._state = state  # kept alive, because the program has addresses in it
        self._books: npt.NDArray[np.int32] = self.keep(torch.zeros(step.books, rows, dtype=torch.int32)).numpy()
        self.codes = self._books.T
        self.samples = self.keep(torch.zeros(rows, HOP, dtype=torch.int16)).numpy()
        self.finite = self.keep(torch.ones(rows, dtype=torch.uint8)).numpy()
        self.low_pass = LowPass(len(leaf(state, "logits")))
        self._lay_out(step, state)
        self.complete()

    def run(self, slots: npt.NDArray[np.int32], begin: int, end: int) -> dict[str, float]:
        """Compute ``codes`` and ``samples`` of one frame, for the streams ``begin`` to ``end`` of ``slots`` ``[n]``.

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
        codes = k.codes_at(self._books[0])
        self.stage("lm")
        self.emit(k.Sample(k.Rows.of(logits), logits.shape[1], **drawn, codes=codes))
        latent, entries = self.buffer(1, step.codec.config.dimension), step.codec.quantizer.entries
        self.embed(codes, entries[0], latent.rows)
        if isinstance(model.fine, NearestStage):
            self.stage("fine")
            self._nearest(model.fine, entries, latent, leaf(model_state, "hidden"))
        elif model.fine is not None:
            self.stage("fine")
            self._finer(model.fine, entries, latent, state, drawn)
        self.stage("codec")
        audio = self.seanet(step.codec.decoder, latent, branch(state, "decoder"))
        self.emit(k.Quantize(audio.rows, HOP, k.samples_at(self.samples), k.flags_at(self.finite)))
        self.limit(self.samples, self.low_pass)
        mel = None
        if model.hybrid:
            self.stage("mel")
            mel = self.slices(step.mel, audio, leaf(branch(state, "mel"), "tail"))
        self.stage("lm")
        hidden = self.heard(model, codes, mel, model_state)
        new = self.product(hidden, model.head.weight, None)
        self.emit(k.Keep(new.rows, new.width, k.Rows.of(logits)))
        self.emit(k.Advance(drawn["frame"], leaf(model_state, "position").data_ptr()))

    def _nearest(self, fine: NearestStage, entries: list[Tensor], latent: Signal, hidden: Tensor) -> None:
        """Find the finer codes, and add their entries to the coarse code's ``latent``.

        Products that round may find the other of two near entries: in bfloat16 of one code in a hundred, in int8 of one
        in thirty, while the sum of a frame's entries stays as near to the estimate.
        """
        known = self.buffer(1, fine.hidden.in_features)
        self.emit(k.Fetch(k.Rows.of(hidden), known.width, known.rows))
        x = self.product(known, fine.hidden.weight, None)
        self.product(latent, fine.coarse.weight, fine.coarse.bias, activation=k.GELU, add_to=x)
        more = self.product(x, fine.up.weight, fine.up.bias, activation=k.GELU)
        self.emit(k.Add(more.rows, more.width, x.rows))
        rest = self.product(x, fine.rest.weight, fine.rest.bias)
        self.nearest(rest, entries[1:], self._books[1:])
        self.add_entries(self._books[1:], entries[1:], latent)

    def _finer(
        self, fine: DrawnStage, entries: list[Tensor], latent: Signal, state: State, drawn: dict[str, int]
    ) -> None:
        """Draw the finer codes, and add their entries to the coarse code's ``latent``."""
        config = fine.config
        known, previous = self.buffer(1, fine.hidden.in_features), self.buffer(1, config.dimension)
        self.emit(k.Fetch(k.Rows.of(leaf(branch(state, "model"), "hidden")), known.width, known.rows))
        self.emit(k.Fetch(k.Rows.of(leaf(state, "latent")), previous.width, previous.rows))
        context = self.product(known, fine.hidden.weight, None)
        self.product(previous, fine.previous.weight, None, add_to=context)
        noise = (drawn["seed"], drawn["frame"], drawn["temperature"], config.temperature)
        for index, level in enumerate(fine.levels, start=1):
            x = self.window(context, 0, None, through_elu=False)  # a copy, to which the product is added
            self.product(latent, level.latent.weight, level.latent.bias, activation=k.GELU, add_to=x)
            more = self.product(x, level.up.weight, level.up.bias, activation=k.GELU)
            self.emit(k.Add(more.rows, more.width, x.rows))
            query = self.product(x, level.query.weight, level.query.bias)
            logits = self.product(query, entries[index], level.bias)
            codes = k.codes_at(self._books[index])
            self.emit(k.Draw(logits.rows, logits.width, *noise, index, codes))
            entry = self.buffer(1, config.dimension)
            self.embed(codes, entries[index], entry.rows)
            self.emit(k.Add(entry.rows, entry.width, latent.rows))
        self.emit(k.Keep(latent.rows, latent.width, k.Rows.of(leaf(state, "latent"))))
