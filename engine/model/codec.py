"""The codec: audio to codes and back, offline in one call or streaming in chunks of whole frames.

A stream equals the offline result from its first frame on. The encoder and the decoder are causal: output up to frame
t depends on input up to frame t and on the padding *before* the first frame. With zero padding that is silence, and a
fresh state is silence too: a first chunk of any length is exact. With reflection padding (the published weights) every
layer mirrors its own first inputs. So the first chunk is passed with ``cold=True`` and must hold ``frames_to_prime``
frames (seven); every prompt is longer. All later chunks may be single frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whispergpt.engine.config import HOP, CodecConfig
from whispergpt.engine.model.quantizer import ResidualVectorQuantizer
from whispergpt.engine.model.seanet import Decoder, Encoder
from whispergpt.engine.model.streaming import State


class Codec(nn.Module):
    """EnCodec's architecture; ``state_dict`` has EnCodec's names, with weight normalisation folded in."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantizer = ResidualVectorQuantizer(config.dimension, config.n_codebooks)

    def through(self, decoder: Decoder) -> Codec:
        """Return a codec with the same encoder and codebooks, shared with this one, and another decoder."""
        other = Codec.__new__(Codec)
        nn.Module.__init__(other)
        other.config, other.encoder, other.quantizer = self.config, self.encoder, self.quantizer
        other.decoder = decoder
        return other.train(self.training)

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Tensor:
        """Encode audio ``[B, 1, samples]`` → codes ``[B, n_codebooks, ceil(samples / 320)]``."""
        return self.quantizer.encode(self.encoder(audio))

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes of the first K codebooks ``[B, K, T]`` → audio ``[B, 1, T·320]``."""
        return self.decoder(self.quantizer.decode(codes))

    def init_encoder_state(self, slots: int, device: torch.device) -> State:
        """Return the state of ``slots`` fresh encoders."""
        return self.encoder.init_state(slots, device)

    def init_decoder_state(self, slots: int, device: torch.device) -> State:
        """Return the state of ``slots`` fresh decoders."""
        return self.decoder.init_state(slots, device)

    def encode_step(self, audio: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """Encode the next chunk of audio ``[B, 1, T·320]`` → codes ``[B, n_codebooks, T]``.

        Raises:
            ValueError: the chunk is not whole frames, or is a cold start too short for reflection padding.
        """
        if audio.shape[-1] % HOP:
            raise ValueError(f"{audio.shape[-1]} samples are not whole frames of {HOP}")
        return self.quantizer.encode(self.encoder.step(audio, state, active, cold))

    def decode_step(self, codes: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """Decode the next codes ``[B, K, T]`` → audio ``[B, 1, T·320]``, equal to what ``decode`` gives there."""
        return self.decoder.step(self.quantizer.decode(codes), state, active, cold)
