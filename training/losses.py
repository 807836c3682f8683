"""Reconstruction losses of the codec: spectra at several scales, and the waveform itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.config import SAMPLE_RATE
from engine.mel import mel_filterbank

SCALES = ((256, 40), (512, 64), (1024, 80), (2048, 96))
"""(window in samples, mel bins); each hops by a quarter of its window."""
COMPRESSED_SCALES = (512, 1024)
COMPRESSION = 0.3
"""Exponent that brings magnitudes near to loudness; with the phase kept it is the loss of speech enhancement that
agrees best with listeners (Braun and Tashev, arXiv 2009.12286)."""


class ReconstructionLoss(nn.Module):
    """Log-mel distance at four scales, compressed spectra with their phase, and the waveform's error.

    The first makes the sound right; the others tie its phase to the original's, which mel alone leaves free (a codec
    trained on mel alone has the right spectrum and the wrong waveform). They are relative to the signal, and squared:
    the best answer to an absolute error, as long as nothing is known of the phase, is silence.
    """

    def __init__(self) -> None:
        super().__init__()
        for window, mels in SCALES:
            self.register_buffer(f"window_{window}", torch.hann_window(window), persistent=False)
            bank = mel_filterbank(window, mels, 0.0, SAMPLE_RATE / 2)
            self.register_buffer(f"bank_{window}", bank, persistent=False)

    def forward(self, output: Tensor, target: Tensor, mel_weight: float = 1.0) -> dict[str, Tensor]:
        """``[B, samples]`` each → the named terms, ``total`` among them."""
        mel = output.new_zeros(())
        compressed = output.new_zeros(())
        for window, _ in SCALES:
            shape, bank = getattr(self, f"window_{window}"), getattr(self, f"bank_{window}")
            made, wanted = (
                torch.stft(x, window, window // 4, window=shape, center=True, return_complex=True)
                for x in (output, target)
            )
            mel = mel + (_log_mel(made, bank) - _log_mel(wanted, bank)).abs().mean() / len(SCALES)
            if window in COMPRESSED_SCALES:
                compressed = compressed + _compressed_error(made, wanted) / len(COMPRESSED_SCALES)
        wave = ((output - target).square().sum(-1) / target.square().sum(-1).add(1e-3)).mean()
        total = mel_weight * mel + 2 * compressed + wave
        return {"total": total, "mel": mel, "compressed": compressed, "wave": wave}


def _log_mel(spectrum: Tensor, bank: Tensor) -> Tensor:
    """Complex ``[B, bins, T]`` → ``[B, mels, T]``."""
    magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
    return torch.log(torch.einsum("fm,bft->bmt", bank, magnitude) + 1e-3)


def _compressed_error(made: Tensor, wanted: Tensor) -> Tensor:
    """Squared error of compressed spectra, with and without phase, relative to the wanted one's power."""
    (x, x_size), (y, y_size) = _compress(made), _compress(wanted)
    return ((x - y).square().sum(-1).mean() + (x_size - y_size).square().mean()) / y_size.square().mean()


def _compress(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Complex ``[...]`` → compressed parts ``[..., 2]`` and magnitudes ``[...]``."""
    parts = torch.view_as_real(spectrum)
    power = parts.square().sum(-1) + 1e-6
    return parts * power.pow((COMPRESSION - 1) / 2).unsqueeze(-1), power.pow(COMPRESSION / 2)
