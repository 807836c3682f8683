"""Low-pass filters that keep a stream's sound within the bandwidth of its prompt.

There is a filter for each limit: a minimum-phase FIR filter of ``TAPS`` coefficients, made from a linear-phase one of
twice the length by spectral factorisation (Oppenheim and Schafer, *Discrete-Time Signal Processing*, on the complex
cepstrum). Low frequencies are delayed by three samples at most. Up to 500 Hz below the limit, the gain is within
0.01 dB of 1; from 200 Hz above it, it is below -45 dB.

The state is the last ``HISTORY`` samples before the filter, which a resumed stream has too. Coefficients are multiples
of 2^-24 and samples are integers, so that float64 sums are exact: their order, the number of streams in a step and the
processor do not matter.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from whispergpt.engine.config import HOP, LIMITS_HZ, NO_LIMIT, SAMPLE_RATE

TAPS = 112
HISTORY = TAPS - 1
"""Samples before a frame on which its filtered samples depend."""
_PASS_BELOW_HZ, _STOP_ABOVE_HZ = 500, 200
_STOP_DB = 50.0
_GRAIN = 2.0**-24
"""Unit of the coefficients."""
_SPECTRUM = 1 << 14
_BLOCK = 80
"""Samples of a row of the product: a short block repeats less, and a long one is faster to multiply."""
_ROWS = 64
"""Frames filtered at a time, which fit into a processor's cache."""

Samples = npt.NDArray[np.int16]


@cache
def coefficients(limit_hz: int) -> npt.NDArray[np.float64]:
    """Return the filter of a limit ``[TAPS]``, the coefficient of the newest sample first.

    The square root of the magnitude halves the attenuation in dB and the length, so the prototype has twice both. It
    is raised by its ripple: only then is it not negative, and its root has ``TAPS`` coefficients.
    """
    cutoff = (limit_hz + (_STOP_ABOVE_HZ - _PASS_BELOW_HZ) / 2) / SAMPLE_RATE
    times = np.arange(2 * TAPS - 1) - (TAPS - 1)
    beta = 0.1102 * (2 * _STOP_DB - 8.7)  # Kaiser's formula for attenuations above 50 dB
    prototype = 2 * cutoff * np.sinc(2 * cutoff * times) * np.kaiser(len(times), beta)
    magnitude = np.abs(np.fft.rfft(prototype, _SPECTRUM)) + 10 ** (-2 * _STOP_DB / 20)
    cepstrum = np.fft.irfft(np.log(magnitude) / 2)
    cepstrum[1 : _SPECTRUM // 2] *= 2
    cepstrum[_SPECTRUM // 2 + 1 :] = 0
    found = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)))[:TAPS]
    return np.asarray(np.rint(found / found.sum() / _GRAIN) * _GRAIN)


@cache
def _matrix(limit_hz: int) -> Tensor:
    """Return the filter as a matrix: ``HISTORY`` + ``_BLOCK`` samples times it are the last ``_BLOCK`` filtered."""
    matrix = np.zeros((HISTORY + _BLOCK, _BLOCK))
    for sample in range(_BLOCK):
        matrix[sample : sample + TAPS, sample] = coefficients(limit_hz)[::-1]
    return torch.from_numpy(matrix)


class _Workspace:
    """Buffers in which up to ``_ROWS`` frames are filtered, each behind the samples before it."""

    def __init__(self) -> None:
        self.frames = np.zeros((_ROWS, HISTORY + HOP), np.int16)
        overlapping = np.lib.stride_tricks.sliding_window_view(self.frames, HISTORY + _BLOCK, axis=1)
        self._overlapping = overlapping[:, ::_BLOCK]
        self._blocks = np.zeros(self._overlapping.shape)
        self._filtered = np.zeros((_ROWS, HOP))
        self._product = torch.from_numpy(self._blocks).flatten(0, 1), torch.from_numpy(self._filtered).view(-1, _BLOCK)

    def filter(self, count: int, limit_hz: int) -> npt.NDArray[np.float64]:
        """Return the first ``count`` frames filtered, ``[count, 320]``, rounded and clipped to 16 bits."""
        self._blocks[:count] = self._overlapping[:count]
        blocks, out = self._product
        rows = count * HOP // _BLOCK
        torch.mm(blocks[:rows], _matrix(limit_hz), out=out[:rows])
        filtered = self._filtered[:count]
        np.rint(filtered, out=filtered)
        return np.clip(filtered, -32768, 32767, out=filtered)


class LowPass:
    """Filters of the streams in slots, as the last part of a step.

    Args:
        slots: their number.
    """

    def __init__(self, slots: int) -> None:
        self._limits = np.zeros(slots, np.int64)
        self._history = np.zeros((slots, HISTORY), np.int16)
        self._workspace = _Workspace()

    def begin(self, slot: int, limit_hz: int, history: Samples) -> None:
        """Begin a stream in a slot behind the samples ``history`` ``[HISTORY]``, as they were before the filter."""
        self._limits[slot] = limit_hz
        if limit_hz:
            self._history[slot] = history

    def apply(self, slots: npt.NDArray[np.int64], samples: Samples) -> None:
        """Filter a frame of each of ``slots``, ``samples`` ``[n, 320]``, in place; those without a limit stay."""
        limits = self._limits[slots]
        if not limits.any():
            return
        for limit_hz in LIMITS_HZ:
            (rows,) = np.nonzero(limits == limit_hz)
            for first in range(0, len(rows), _ROWS):
                self._filter(slots, samples, rows[first : first + _ROWS], limit_hz)

    def _filter(
        self, slots: npt.NDArray[np.int64], samples: Samples, rows: npt.NDArray[np.int64], limit_hz: int
    ) -> None:
        """Filter the frames ``rows`` of ``samples``, of slots with the same limit."""
        here = slots[rows]
        frames = self._workspace.frames[: len(rows)]
        frames[:, :HISTORY] = self._history[here]
        frames[:, HISTORY:] = samples[rows]
        self._history[here] = frames[:, HOP:]
        samples[rows] = self._workspace.filter(len(rows), limit_hz)


def low_passed(samples: Samples, limit_hz: int) -> Samples:
    """Return samples ``[T·320]`` filtered from silence on; without a limit, the samples themselves."""
    if limit_hz == NO_LIMIT:
        return samples
    seen = np.concatenate([np.zeros(HISTORY, np.int16), samples])
    behind = np.lib.stride_tricks.sliding_window_view(seen, HISTORY + HOP)[::HOP]
    filtered, workspace = np.empty((len(behind), HOP), np.int16), _Workspace()
    for first in range(0, len(behind), _ROWS):
        some = behind[first : first + _ROWS]
        workspace.frames[: len(some)] = some
        filtered[first : first + _ROWS] = workspace.filter(len(some), limit_hz)
    return filtered.reshape(-1)
