"""Codes and slices of a recording for several models, computed once for each codec."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.config import HOP
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.training.data.tokens import Version

Condition = Version


class Hearings:
    """Codes and sounds of one recording at a time, by codec.

    Args:
        condition: source of the slices: the ``original`` audio, or audio ``decoded`` from all or from ``coarse`` codes.
    """

    def __init__(self, condition: Condition) -> None:
        self.condition = condition
        self._audio = torch.zeros(0)
        self._codecs: dict[str, OfflineCodec] = {}
        self._names: dict[Codec, str] = {}
        self._codes: dict[str, Tensor] = {}
        self._sounds: dict[str, Tensor] = {}

    def listen(self, audio: Tensor) -> None:
        """Go to the next recording ``[n]`` at 24 kHz, cut to whole frames."""
        self._audio = audio[: len(audio) // HOP * HOP]
        self._codes.clear()
        self._sounds.clear()

    @torch.inference_mode()
    def heard_by(self, step: FrameStep) -> tuple[Tensor, Tensor]:
        """Return a model's coarse codes, int64 ``[T]``, and slices ``[T, n_mels]``."""
        name = self.name_of(step.codec)
        if name not in self._codecs:
            self._codecs[name] = OfflineCodec(step.codec)
        if name not in self._codes:
            audio = self._audio.to(step.codec.quantizer.entries[0].device)
            self._codes[name] = self._codecs[name].encode(audio)
            self._sounds[name] = self._sound(self._codecs[name], audio, self._codes[name])
        return self._codes[name][0], step.mel(self._sounds[name][None])[0]

    def _sound(self, codec: OfflineCodec, audio: Tensor, codes: Tensor) -> Tensor:
        if self.condition == "original":
            return audio
        return codec.decode(codes if self.condition == "decoded" else codes[:1])

    def name_of(self, codec: Codec) -> str:
        """Return a name that codecs with the same weights share."""
        if codec not in self._names:
            digest = hashlib.sha256(repr(codec.config).encode())
            for weight in codec.state_dict().values():
                digest.update(weight.cpu().numpy().tobytes())
            self._names[codec] = digest.hexdigest()
        return self._names[codec]
