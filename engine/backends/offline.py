"""Whole recordings through the codec, in bounded memory: the streaming codec on one slot, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from whispergpt.engine.config import HOP
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.streaming import State, map_state
from whispergpt.engine.native.check import find_codec_kernels
from whispergpt.engine.native.codec_program import DecodeProgram, EncodeProgram

CHUNK_FRAMES = 150
"""Frames at once for torch: two seconds, which fit into a processor's cache."""
KERNEL_FRAMES = 32


class OfflineCodec:
    """A codec for whole recordings: compiled kernels on a CPU that they are made for, three times as fast as torch.

    The codec's weights must not change afterwards, since the kernels read a packed copy.

    Args:
        on_frames: called with the number of frames that were encoded or decoded, chunk by chunk.
    """

    def __init__(self, codec: Codec, on_frames: Callable[[int], object] = lambda frames: None) -> None:
        self.codec, self._on_frames = codec.eval(), on_frames
        self._device = codec.quantizer.entries[0].device
        self._encoder: tuple[EncodeProgram, State] | None = None
        self._decoders: dict[int, tuple[DecodeProgram, State]] = {}
        # The kernels cannot compute a first chunk with reflection padding.
        plain = codec.config.pad_mode == "constant"
        self._weights = find_codec_kernels(codec, self._device).weights if plain else None

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Tensor:
        """Encode audio ``[n]`` at 24 kHz → codes ``[K, ceil(n / 320)]``, the last frame filled up with silence."""
        whole = F.pad(audio, (0, -len(audio) % HOP))
        # With reflection padding a codec cannot start with fewer frames.
        whole = F.pad(whole, (0, max(0, self.codec.config.frames_to_prime * HOP - len(whole))))
        found = self._encode_by_kernels(whole) if self._weights else self._encode_by_torch(whole)
        return found[:, : -(-len(audio) // HOP)]

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes of the first k codebooks ``[k, T]`` → audio ``[T·320]``."""
        missing = max(0, self.codec.config.frames_to_prime - codes.shape[1])
        padded = F.pad(codes, (0, missing))
        audio = self._decode_by_kernels(padded) if self._weights else self._decode_by_torch(padded)
        return audio[: codes.shape[1] * HOP]

    def _encode_by_torch(self, audio: Tensor) -> Tensor:
        state = self.codec.init_encoder_state(1, self._device)
        chunks = audio[None, None].split(CHUNK_FRAMES * HOP, dim=2)
        steps = (self.codec.encode_step(x, state, cold=i == 0) for i, x in enumerate(chunks))
        return torch.cat(list(self._counted(steps, 1)), dim=2)[0]

    def _decode_by_torch(self, codes: Tensor) -> Tensor:
        state = self.codec.init_decoder_state(1, self._device)
        chunks = codes[None].split(CHUNK_FRAMES, dim=2)
        steps = (self.codec.decode_step(x, state, cold=i == 0) for i, x in enumerate(chunks))
        return torch.cat(list(self._counted(steps, HOP)), dim=2)[0, 0]

    def _counted(self, made: Iterable[Tensor], samples: int) -> Iterator[Tensor]:
        """Yield results ``[1, ·, n]`` with ``samples`` for each frame, and report the frames."""
        for result in made:
            yield result
            self._on_frames(result.shape[2] // samples)

    def _encode_by_kernels(self, audio: Tensor) -> Tensor:
        assert self._weights is not None
        if self._encoder is None:  # made once, because a program packs the weights
            state = self.codec.init_encoder_state(1, self._device)
            self._encoder = EncodeProgram(self.codec, state, KERNEL_FRAMES, self._weights), state
        program, state = self._encoder
        map_state(torch.Tensor.zero_, state)
        codes = []
        for chunk in audio.view(-1, HOP).split(KERNEL_FRAMES):
            program.audio[: len(chunk)] = chunk.numpy()
            program.run(len(chunk))
            codes.append(program.codes[:, : len(chunk)].astype(np.int64))
            self._on_frames(len(chunk))
        return torch.from_numpy(np.concatenate(codes, axis=1))

    def _decode_by_kernels(self, codes: Tensor) -> Tensor:
        assert self._weights is not None
        if len(codes) not in self._decoders:
            state = self.codec.init_decoder_state(1, self._device)
            program = DecodeProgram(self.codec, len(codes), state, KERNEL_FRAMES, self._weights)
            self._decoders[len(codes)] = program, state
        program, state = self._decoders[len(codes)]
        map_state(torch.Tensor.zero_, state)
        audio = []
        for chunk in codes.split(KERNEL_FRAMES, dim=1):
            frames = chunk.shape[1]
            program.codes[:, :frames] = chunk.numpy()
            program.run(frames)
            audio.append(program.audio[:frames].flatten())
            self._on_frames(frames)
        return torch.from_numpy(np.concatenate(audio))
