"""Power spectra of overlapping Hann windows, a block of windows at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from whispergpt.engine.audio.audio_file import Samples

BLOCK_SAMPLES = 2_000_000
"""Most samples that are transformed at a time, so that ten minutes of sound need little memory."""
ROUNDING_POWER = 1 / 12 / 32768.0**2
"""Power of the noise that rounding to 16 bits adds, relative to full scale."""

Powers = npt.NDArray[np.float64]


def power_spectra(audio: Samples, size: int, hop: int) -> Iterator[Powers]:
    """Yield blocks ``[windows, size // 2 + 1]`` of the power spectra of samples ``[n]``.

    The powers of a window add up to the mean square of its samples, weighted by the window. Samples at the end that
    fill no window are left out; a sound shorter than one window has no spectra.
    """
    if len(audio) < size:
        return
    hann = np.hanning(size + 1)[:-1]
    scale = np.full(size // 2 + 1, 2 / size / np.square(hann).sum())
    scale[0] /= 2
    if size % 2 == 0:
        scale[-1] /= 2
    windows = np.lib.stride_tricks.sliding_window_view(audio, size)[::hop]
    step = max(1, BLOCK_SAMPLES // size)
    for first in range(0, len(windows), step):
        yield np.square(np.abs(np.fft.rfft(windows[first : first + step] * hann, axis=1))) * scale
