"""The codec's part of the frame step as launches: latents to samples, and samples to mel slices."""

from __future__ import annotations

from torch import Tensor

from whispergpt.engine.gpu.codec_layers import CodecLayers
from whispergpt.engine.gpu.emitter import Emitter, Signal
from whispergpt.engine.low_pass import LowPass
from whispergpt.engine.model.mel import CausalMel
from whispergpt.engine.model.seanet import Decoder
from whispergpt.engine.model.streaming import State, leaf


def decode_frame(
    emitter: Emitter,
    decoder: Decoder,
    latent: Signal,
    state: State,
    samples: Tensor,
    finite: Tensor,
    low_pass: LowPass,
) -> Signal:
    """Emit the decoding of one frame of each row from its ``latent``, float32.

    Args:
        state: the decoder's state of all slots.
        samples: receives the frame's samples, int16 ``[rows, 320]``.
        finite: receives 1 for rows whose samples are all finite, else 0, uint8 ``[rows]``.
        low_pass: filters of the slots, which ``samples`` go through.

    Returns:
        The samples in float32, one channel, not filtered.
    """
    layers = CodecLayers(emitter)
    audio = layers.seanet(decoder, latent, state)
    layers.to_16_bits(audio, samples, finite, low_pass)
    layers.keep_contexts()
    return audio


def mel_slices(emitter: Emitter, mel: CausalMel, audio: Signal, state: State) -> Signal:
    """Emit the mel slice ``[n_mels]`` of each row's frame, in the format of products' operands.

    Args:
        audio: the frame's samples in float32.
        state: the spectrogram's state of all slots.
    """
    layers = CodecLayers(emitter)
    slices = layers.slices(mel, audio, leaf(state, "tail"))
    layers.keep_contexts()
    return slices
