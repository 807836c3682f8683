"""The frame step: one frame of sound for every slot at once. The rest of this package prepares its inputs.

The codec and the spectrogram are inside the autoregressive loop: what the model hears next is the mel slice of
the very samples that the listener gets.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from whispergpt.engine.config import CODEBOOK_SIZE
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.convolution import CausalConv1d, CausalConvTranspose1d, ResidualLSTM
from whispergpt.engine.model.fine.drawn_stage import DrawnStage
from whispergpt.engine.model.fine.nearest_stage import NearestStage
from whispergpt.engine.model.fine.stage import FineStage
from whispergpt.engine.model.mel import CausalMel
from whispergpt.engine.model.quantizer import Codebook
from whispergpt.engine.model.row_layout import RowLayout
from whispergpt.engine.model.sampling import sample
from whispergpt.engine.model.streaming import State, branch, keep, leaf
from whispergpt.engine.model.whisper_gpt import WhisperGPT

LOST = -1
"""Code value meaning that the slot's numbers are no longer finite."""


class FrameStep(nn.Module):
    """Model, codec and spectrogram as one step over slots, and the same three over a prompt's chunk.

    Attributes:
        codec: the codec as the model speaks: with the model's own decoder, if it has one.
        plain_codec: the codec as it is without the model.
    """

    def __init__(self, codec: Codec, model: WhisperGPT) -> None:
        super().__init__()
        self.plain_codec, self.model = codec, model
        self.codec = codec if model.decoder is None else codec.through(model.decoder)
        self.mel = CausalMel(model.config.mel)
        self._layouts: dict[tuple[torch.dtype, str], RowLayout] = {}
        """By the dtype of the caches and the type of device, on which their shapes depend."""

    @property
    def books(self) -> int:
        """Return the number of codebooks that a generated frame has codes of."""
        return 1 if self.model.fine is None else self.codec.config.n_codebooks

    def pack(self) -> None:
        """Lay the weights out as the steps need them; later changes to them would have no effect."""
        for module in (*self.codec.modules(), *self.model.modules()):
            if isinstance(module, CausalConv1d | CausalConvTranspose1d | ResidualLSTM | Codebook):
                module.pack()

    def init_state(self, slots: int, device: torch.device, kept_in: torch.dtype = torch.float32) -> State:
        """Return the zeroed state of ``slots`` streams: caches, convolution contexts, spectrogram tails and samplers.

        Each slot is a row of one buffer, as ``RowLayout`` has it. ``kept_in``: dtype of the caches, float32,
        bfloat16 or int8.
        """
        key = kept_in, device.type
        if key not in self._layouts:
            self._layouts[key] = RowLayout(self._template(kept_in, device))
        return self._layouts[key].zeros(slots, device)

    def _template(self, kept_in: torch.dtype, device: torch.device) -> State:
        """Return one slot's state."""

        def zeros(dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.zeros(1, *shape, dtype=dtype, device=device)

        sampler: State = {
            "seed": zeros(torch.int64),
            "frame": zeros(torch.int64),
            "temperature": zeros(torch.float32),
            "top_k": zeros(torch.int64),
            "top_p": zeros(torch.float32),
        }
        state: State = {
            "logits": zeros(torch.float32, CODEBOOK_SIZE),
            "sampler": sampler,
            "decoder": self.codec.init_decoder_state(1, device),
            "mel": self.mel.init_state(1, device),
            "model": self.model.init_state(1, device, kept_in),
        }
        if isinstance(self.model.fine, DrawnStage):
            state["latent"] = zeros(torch.float32, self.codec.config.dimension)
        return state

    def forward(self, state: State, active: Tensor, mark: Callable[[str], None] | None = None) -> tuple[Tensor, Tensor]:
        """Compute one frame of every slot; rows where ``active`` ``[B]`` is False stay as they are.

        ``mark`` is called with the name of each stage as it ends, for steps that are timed.

        Returns:
            The frame's codes, int64 ``[B, K]`` (K is 1 without a fine stage), and its samples, int16 ``[B, 320]``.
            Codes are ``LOST`` where a slot's numbers are no longer finite: no frame can follow this one.
        """
        mark = mark or _unmarked
        sampler = branch(state, "sampler")
        code = sample(leaf(state, "logits"), **sampler)  # type: ignore[arg-type]
        mark("lm")
        codes = code[:, None]
        if self.model.fine is not None:
            codes = self._finer(self.model.fine, code, state, active)
            mark("fine")
        samples = self.codec.decode_step(codes[:, :, None], branch(state, "decoder"), active)[:, 0]
        mark("codec")
        mel = None
        if self.model.hybrid:
            mel = self.mel.step(samples, branch(state, "mel"), active)[:, 0]
            mark("mel")
        logits = self.model.step(code, mel, branch(state, "model"), active)
        keep(leaf(state, "logits"), logits, active)
        leaf(sampler, "frame").add_(active)
        finite = logits.isfinite().all(dim=-1) & samples.isfinite().all(dim=-1)
        codes = torch.where(finite[:, None], codes, LOST)
        mark("lm")
        return codes, to_int16(samples)

    def _finer(self, fine: FineStage, coarse: Tensor, state: State, active: Tensor) -> Tensor:
        """Find the finer codes; return all codes of the frame ``[B, K]``."""
        hidden, quantizer = leaf(branch(state, "model"), "hidden"), self.codec.quantizer
        if isinstance(fine, NearestStage):
            return fine.find(hidden, coarse, quantizer)
        sampler, previous = branch(state, "sampler"), leaf(state, "latent")
        drawn = (leaf(sampler, name) for name in ("seed", "frame", "temperature"))
        codes, latent = fine.draw(hidden, previous, coarse, quantizer.entries, *drawn)
        keep(previous, latent, active)
        return codes

    def hear(self, codes: Tensor, state: State, start: int) -> Tensor:
        """Decode a chunk of one stream's prompt: all its codes ``[1, K, T]`` behind ``start`` frames.

        Returns:
            The chunk as the codec gives it back, float32 ``[1, T·320]``.
        """
        if "latent" in state:
            keep(leaf(state, "latent"), self.codec.quantizer.decode(codes[:, :, -1:])[:, :, 0], None)
        return self.codec.decode_step(codes, branch(state, "decoder"), cold=start == 0)[:, 0]

    def read(self, coarse: Tensor, samples: Tensor, state: State, start: int) -> None:
        """Run spectrogram and model over the same chunk: coarse codes ``[1, T]`` and samples as ``hear`` gave them.

        The model reads the prompt as it sounds after the codec, so that the sound does not jump at the continuation.
        """
        mel = self.mel.step(samples, branch(state, "mel")) if self.model.hybrid else None
        logits = self.model.extend(coarse, mel, branch(state, "model"), start)
        keep(leaf(state, "logits"), logits[:, -1], None)

    def read_lanes(self, coarse: Tensor, samples: Tensor, state: State, start: Tensor, count: Tensor) -> None:
        """Do as ``read`` for a chunk of each of several prompts, of one shape whatever their lengths.

        Args:
            coarse: codes ``[B, T]``; ``samples`` ``[B, T·320]``.
            start: frames before each chunk ``[B]``.
            count: frames of each chunk ``[B]``, at most T; the rest of a lane leaves no trace in its state.
        """
        mel = self.mel.step_lanes(samples, branch(state, "mel"), count) if self.model.hybrid else None
        leaf(state, "logits").copy_(self.model.extend_lanes(coarse, mel, branch(state, "model"), start, count))


def to_int16(samples: Tensor) -> Tensor:
    """Convert float samples to 16 bits, clipped at full scale."""
    return (samples.clamp(-1.0, 1.0) * 32767.0).round().to(torch.int16)


def _unmarked(stage: str) -> None:
    """Do nothing: the step is not timed."""
