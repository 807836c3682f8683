"""Codes and slices of a recording for several models, computed once for each codec."""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.config import HOP
from whispergpt.training.tokens.tokens import Version, code_digest, digest_of

Condition = Version


class Hearings:
    """Codes and slices as several models hear recordings.

    Args:
        condition: source of the slices: the ``original`` audio, or audio ``decoded`` from all or from ``coarse`` codes.

    Attributes:
        codes: for each model, what its codes depend on: a digest of its encoder and its codebooks.
    """

    def __init__(self, models: list[LoadedModel], condition: Condition) -> None:
        self._steps, self._condition = [model.step for model in models], condition
        self.codes = [code_digest(step.codec) for step in self._steps]
        self._sounds = [digest_of(step.codec, step.codec.config) for step in self._steps]
        codecs = {digest: step.codec for digest, step in zip(self._sounds, self._steps, strict=True)}
        self._codecs = {digest: OfflineCodec(codec) for digest, codec in codecs.items()}

    @torch.inference_mode()
    def of(self, samples: Samples) -> list[tuple[Tensor, Tensor]]:
        """Return each model's coarse codes, int64 ``[T]``, and slices ``[T, n_mels]``, of whole frames of ``[n]``."""
        audio = torch.from_numpy(samples[: len(samples) // HOP * HOP])
        heard = {digest: self._hear(codec, audio) for digest, codec in self._codecs.items()}
        both = [(step, *heard[digest]) for step, digest in zip(self._steps, self._sounds, strict=True)]
        return [(codes[0], step.mel(sound[None])[0]) for step, codes, sound in both]

    def _hear(self, codec: OfflineCodec, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes ``[K, T]`` and the sound that the slices are made of."""
        audio = audio.to(codec.codec.quantizer.entries[0].device)
        codes = codec.encode(audio)
        if self._condition == "original":
            return codes, audio
        return codes, codec.decode(codes if self._condition == "decoded" else codes[:1])
