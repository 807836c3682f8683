"""Reconstruction losses of the codec: spectra at several scales, and the waveform itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.config import SAMPLE_RATE
from engine.mel import mel_filterbank

SCALES = ((256, 40), (512, 64), (1024, 80), (2048, 96))
"""(window in samples, mel bins); each hops by a quarter of its window."""


class ReconstructionLoss(nn.Module):
    """Log-mel distance at four scales, plus complex-STFT and waveform errors relative to the signal.

    The spectral term makes the sound right, the relative ones tie its phase to the original's, which mel alone
    leaves free (a codec trained on mel alone has the right spectrum and the wrong waveform). The waveform error is
    squared: the best answer to an absolute error, as long as nothing is known of the phase, is silence.
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
        relative = output.new_zeros(())
        for window, _ in SCALES:
            shape = getattr(self, f"window_{window}")
            made, wanted = (
                torch.stft(x, window, window // 4, window=shape, center=True, return_complex=True)
                for x in (output, target)
            )
            bank = getattr(self, f"bank_{window}")
            a, b = (_log_mel(s, bank) for s in (made, wanted))
            mel = mel + (a - b).abs().mean() / len(SCALES)
            if window == 512:
                error = torch.view_as_real(made - wanted).square().sum(-1).add(1e-9).sqrt().mean()
                relative = error / wanted.abs().mean()
        wave = ((output - target).square().sum(-1) / target.square().sum(-1).add(1e-3)).mean()
        total = mel_weight * mel + relative + wave
        return {"total": total, "mel": mel, "complex": relative, "wave": wave}


def _log_mel(spectrum: Tensor, bank: Tensor) -> Tensor:
    """Complex ``[B, bins, T]`` → ``[B, mels, T]``."""
    magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
    return torch.log(torch.einsum("fm,bft->bmt", bank, magnitude) + 1e-3)
