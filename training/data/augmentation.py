"""Random changes of a batch of recordings for a codec's training: levels, microphones, rooms and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whispergpt.engine.config import SAMPLE_RATE

BANDS_HZ = (0.0, 150.0, 500.0, 1_500.0, 4_000.0, 8_000.0, 12_000.0)
"""Frequencies in Hz at which an equaliser's gains are drawn."""
ROOM_DB = (2.0, 15.0)
"""Range of a room's response, in dB below the sound itself."""
ROOM_DECAY = 6.9
"""Exponent of a fall by 60 dB: exp(-6.9) is a thousandth."""


@dataclass(frozen=True)
class Augmentation:
    """Settings of the random changes: how often a crop is changed, and how much.

    ``level_db``: range of the RMS level of all crops; ``equalizer_db``: standard deviation of the gain at each of
    seven frequencies; ``room_seconds``: range of the time in which the room's sound falls by 60 dB; ``noise_db``: range
    of the noise's level below the sound's.
    """

    level_db: tuple[float, float] = (-32.0, -14.0)
    equalizer_share: float = 0.25
    equalizer_db: float = 4.0
    room_share: float = 0.1
    room_seconds: tuple[float, float] = (0.1, 0.6)
    noise_share: float = 0.1
    noise_db: tuple[float, float] = (20.0, 45.0)


class Augmenter:
    """Changes for crops of ``samples`` samples, drawn from the device's own generator.

    A random factor of 0 or 1 switches each change of a crop off or on, so that a CUDA graph can hold them.
    """

    def __init__(self, how: Augmentation, samples: int, device: torch.device) -> None:
        self._how, self._samples, self._device = how, samples, device
        hertz = np.linspace(0, SAMPLE_RATE / 2, samples // 2 + 1)
        curves = np.stack([np.interp(hertz, BANDS_HZ, one) for one in np.eye(len(BANDS_HZ))])
        self._curves = torch.from_numpy(curves.astype(np.float32)).to(device)
        taps = int(how.room_seconds[1] * SAMPLE_RATE)
        self._seconds = torch.arange(taps, device=device) / SAMPLE_RATE
        self._wet_size = 1 << (samples + taps - 1).bit_length()

    def __call__(self, crops: Tensor) -> Tensor:
        """Change crops ``[B, samples]`` at random, bring them to random levels, and return them."""
        crops = self._in_rooms(self._equalized(crops))
        level = crops.square().mean(1, keepdim=True).sqrt()
        below = self._chosen(self._how.noise_share, len(crops)) / self._factor(self._how.noise_db, len(crops))
        crops = crops + torch.randn_like(crops) * level * below
        gain = self._factor(self._how.level_db, len(crops)) / level.clamp(min=1e-3)
        # The peak stays below full scale.
        return crops * torch.minimum(gain, 0.99 / crops.abs().amax(1, keepdim=True).clamp(min=1e-3))

    def _equalized(self, crops: Tensor) -> Tensor:
        """Give some crops a smooth gain over frequency, as another microphone would."""
        shape = (len(crops), len(self._curves))
        gains_db = torch.randn(shape, device=self._device) * self._how.equalizer_db
        gains_db = gains_db * self._chosen(self._how.equalizer_share, len(crops))
        spectrum = torch.fft.rfft(crops) * 10 ** (gains_db @ self._curves / 20)
        return torch.fft.irfft(spectrum, self._samples)

    def _in_rooms(self, crops: Tensor) -> Tensor:
        """Add a room's response to some crops: noise that dies away exponentially (Polack 1988)."""
        seconds = self._uniform(self._how.room_seconds, len(crops))
        response = torch.randn(len(crops), len(self._seconds), device=self._device)
        response = response * torch.exp(-ROOM_DECAY * self._seconds / seconds) * (self._seconds < seconds)
        level = self._chosen(self._how.room_share, len(crops)) / self._factor(ROOM_DB, len(crops))
        response = response * level / response.square().sum(1, keepdim=True).sqrt()
        response[:, 0] = 1.0
        wet = torch.fft.rfft(crops, self._wet_size) * torch.fft.rfft(response, self._wet_size)
        return torch.fft.irfft(wet, self._wet_size)[:, : self._samples]

    def _chosen(self, share: float, count: int) -> Tensor:
        """Return ``[count, 1]``: 1 for a random ``share``, 0 for the others."""
        return (torch.rand(count, 1, device=self._device) < share).float()

    def _factor(self, db: tuple[float, float], count: int) -> Tensor:
        """Return random factors ``[count, 1]`` whose levels are in a range of dB."""
        return 10 ** (self._uniform(db, count) / 20)

    def _uniform(self, within: tuple[float, float], count: int) -> Tensor:
        """Return random numbers ``[count, 1]`` in a range."""
        return within[0] + (within[1] - within[0]) * torch.rand(count, 1, device=self._device)


def seed_step(seed: int, step: int) -> None:
    """Seed the generators of all devices for one step, so that its draws do not depend on the steps before."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]))
