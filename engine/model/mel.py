"""Causal log-mel slices, one per frame: slice t sees samples up to the end of frame t and none after it.

A centred transform would look half a window ahead, and Whisper's normalisation by the loudest bin of the window
looks further still; the slices here end at their frame and have a fixed scale, so that the loop that generates
computes exactly what training saw.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whispergpt.engine.config import HOP, SAMPLE_RATE, MelConfig
from whispergpt.engine.model.streaming import State, keep, leaf


def mel_edges(n_mels: int, low_hz: float, high_hz: float) -> Tensor:
    """Return Hz, float64 ``[n_mels + 2]``: band i begins at the i-th, peaks at the next, ends at the one after.

    Evenly spaced on the HTK mel scale, 2595·log10(1 + f / 700).
    """
    low, high = (2595.0 * torch.log10(1.0 + torch.tensor(f, dtype=torch.float64) / 700.0) for f in (low_hz, high_hz))
    mels = torch.linspace(float(low), float(high), n_mels + 2, dtype=torch.float64)
    edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    edges[0], edges[-1] = low_hz, high_hz  # else the last bits depend on the processor, and decide what is zero
    return edges


def mel_filterbank(window: int, n_mels: int, low_hz: float, high_hz: float) -> Tensor:
    """Return triangular filters ``[window // 2 + 1, n_mels]`` between neighbours of ``mel_edges``."""
    edges = mel_edges(n_mels, low_hz, high_hz)
    bins = torch.linspace(0, SAMPLE_RATE / 2, window // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


class CausalMel(nn.Module):
    """Log-mel slices of 24 kHz audio, scaled to about -1…1 by fixed numbers."""

    window: Tensor
    bank: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        self.history = config.window - HOP
        # Rounded from float64, as all tables are: then the last bits of a processor's cosine do not matter.
        window = torch.hann_window(config.window, dtype=torch.float64).float()
        self.register_buffer("window", window, persistent=False)
        bank = mel_filterbank(config.window, config.n_mels, config.low_hz, config.high_hz)
        self.register_buffer("bank", bank, persistent=False)

    def _slices(self, seen: Tensor) -> Tensor:
        """``[B, history + T·320]`` → ``[B, T, n_mels]``."""
        frames = seen.unfold(-1, self.config.window, HOP) * self.window
        magnitude = torch.fft.rfft(frames).abs()
        # 10^-5 … 10^2 in magnitude becomes -2 … 1.5: speech lies around zero.
        return (torch.log10((magnitude @ self.bank).clamp(min=self.config.floor)) + 1.0) / 2.0

    def forward(self, audio: Tensor) -> Tensor:
        """``[B, T·320]`` samples → ``[B, T, n_mels]``, with silence before the first sample."""
        return self._slices(F.pad(audio, (self.history, 0)))

    def init_state(self, slots: int, device: torch.device) -> State:
        return {"tail": torch.zeros(slots, self.history, device=device)}

    def step(self, audio: Tensor, state: State, active: Tensor | None = None) -> Tensor:
        """Compute the next ``[B, T·320]`` samples of every slot → ``[B, T, n_mels]``."""
        tail = leaf(state, "tail")
        seen = torch.cat([tail, audio], dim=-1)
        keep(tail, seen[:, seen.shape[1] - self.history :], active)
        return self._slices(seen)

    def step_lanes(self, audio: Tensor, state: State, count: Tensor) -> Tensor:
        """Compute the next samples ``[B, T·320]`` of every slot → ``[B, T, n_mels]``.

        Of a slot's T frames only the first ``count`` ``[B]`` mean anything; the others leave no trace in the state.
        """
        tail = leaf(state, "tail")
        seen = torch.cat([tail, audio], dim=-1)
        tail.copy_(seen.gather(1, count[:, None] * HOP + torch.arange(self.history, device=audio.device)))
        return self._slices(seen)
