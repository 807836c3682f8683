"""Low-pass filters that keep a stream's sound within the bandwidth of its prompt.

There is a filter for each limit: a minimum-phase FIR filter of ``TAPS`` coefficients, made from a linear-phase one of
twice the length by spectral factorisation (Oppenheim and Schafer, *Discrete-Time Signal Processing*, on the complex
cepstrum). Low frequencies are delayed by three samples at most. Up to 500 Hz below the limit, the gain is within
0.01 dB of 1; from 200 Hz above it, it is below -45 dB.

The state is the last ``HISTORY`` samples before the filter, which a resumed stream has too. Coefficients are multiples
of 2^-24 and samples are integers, so that sums in float64 or 64-bit integers are exact: their order, the number of
streams in a step and the processor do not matter. Steps by kernels filter in a kernel of their own
(``native/src/low_pass.h``, ``gpu/kernels/sound.py``) and those by PyTorch here, with the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence
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
FRACTION_BITS = 24
"""Bits of a coefficient behind the binary point."""
_GRAIN = 2.0**-FRACTION_BITS
_SPECTRUM = 1 << 14
_BLOCK = 80
"""Samples of a row of the product: a short block repeats less, and a long one is faster to multiply."""
_ROWS = 64
"""Frames filtered at a time, which fit into a processor's cache."""

_UNLIMITED = -1
_NUMBERS = {NO_LIMIT: _UNLIMITED} | {limit_hz: number for number, limit_hz in enumerate(LIMITS_HZ)}

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


def whole_coefficients() -> Tensor:
    """Return the filters of ``LIMITS_HZ`` in units of 2^-24, int32 ``[limits, TAPS]``."""
    return torch.from_numpy(np.stack([coefficients(limit_hz) / _GRAIN for limit_hz in LIMITS_HZ])).to(torch.int32)


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
        device: where the step filters.

    Attributes:
        numbers: place of each slot's limit in ``LIMITS_HZ``, int32 ``[slots]``; negative without a limit.
        history: samples before the filter, int16 ``[slots, HISTORY]``; those of slots without a limit have no meaning.
    """

    def __init__(self, slots: int, device: torch.device = torch.device("cpu")) -> None:  # noqa: B008
        self.numbers = torch.full((slots,), _UNLIMITED, dtype=torch.int32, device=device)
        self.history = torch.zeros(slots, HISTORY, dtype=torch.int16, device=device)
        self._workspace: _Workspace | None = None

    def begin(self, slots: Sequence[int], limits_hz: Sequence[int], histories: Sequence[Samples]) -> None:
        """Begin a stream in each of ``slots``, behind its samples ``[HISTORY]`` as they were before the filter."""
        numbers = [_NUMBERS[limit_hz] for limit_hz in limits_hz]
        device = self.numbers.device
        self.numbers[torch.tensor(slots, device=device)] = torch.tensor(numbers, dtype=torch.int32, device=device)
        limited = [place for place, number in enumerate(numbers) if number != _UNLIMITED]
        if limited:
            at = torch.tensor([slots[place] for place in limited], device=device)
            self.history[at] = torch.from_numpy(np.stack([histories[place] for place in limited])).to(device)

    def apply(self, slots: Sequence[int] | npt.NDArray[np.int64], samples: Samples) -> None:
        """Filter a frame of each of ``slots``, ``samples`` ``[n, 320]``, in place, on a CPU; unlimited ones stay."""
        numbers = self.numbers.numpy()[slots]
        for number, limit_hz in enumerate(LIMITS_HZ):
            (rows,) = np.nonzero(numbers == number)
            for first in range(0, len(rows), _ROWS):
                here = rows[first : first + _ROWS]
                self._filter(np.asarray(slots)[here], samples, here, limit_hz)

    def _filter(
        self, slots: npt.NDArray[np.int64], samples: Samples, rows: npt.NDArray[np.int64], limit_hz: int
    ) -> None:
        """Filter the frames ``rows`` of ``samples``, of ``slots`` with the same limit."""
        self._workspace = self._workspace or _Workspace()
        history, frames = self.history.numpy(), self._workspace.frames[: len(rows)]
        frames[:, :HISTORY] = history[slots]
        frames[:, HISTORY:] = samples[rows]
        history[slots] = frames[:, HOP:]
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
