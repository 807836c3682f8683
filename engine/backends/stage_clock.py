"""Timing of a step's stages."""

from __future__ import annotations

import time

import torch


class StageClock:
    """Adds the seconds between the marks of one step to ``seconds``, waiting for the device at each."""

    def __init__(self, device: torch.device, seconds: dict[str, float]) -> None:
        self._device, self._seconds = device, seconds
        self._last = time.perf_counter()

    def __call__(self, stage: str) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
        self._last = now
