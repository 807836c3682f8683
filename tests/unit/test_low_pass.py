"""The filters that limit a stream's bandwidth: their response, and the same samples in any pieces and any company."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import torch

from tests.support.audio import HOP, SAMPLE_RATE
from tests.support.kernels import kernels_expected
from whispergpt.engine.config import LIMITS_HZ, NO_LIMIT
from whispergpt.engine.low_pass import HISTORY, LowPass, Samples, coefficients, low_passed
from whispergpt.engine.native.emitter import STAGES
from whispergpt.engine.native.layers import LayerEmitter
from whispergpt.engine.native.library import load_library
from whispergpt.engine.native.weights import Weights

FRAMES = 30
NEEDS_KERNELS = pytest.mark.skipif(not kernels_expected(), reason="no compiler, or a processor without kernels")


def noise(seed: int, frames: int = FRAMES, level: float = 6000.0) -> Samples:
    drawn = np.random.default_rng(seed).normal(0, level, frames * HOP)
    return np.clip(drawn, -32768, 32767).astype(np.int16)


def by_scipy(samples: Samples, limit_hz: int) -> Samples:
    filtered = scipy.signal.lfilter(coefficients(limit_hz), [1.0], samples.astype(np.float64))
    return np.clip(np.rint(filtered), -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("limit_hz", LIMITS_HZ)
def test_the_response(limit_hz: int) -> None:
    taps = coefficients(limit_hz)
    hertz, response = scipy.signal.freqz(taps, worN=8192, fs=SAMPLE_RATE)
    gain_db = 20 * np.log10(np.abs(response) + 1e-9)
    assert np.abs(gain_db[hertz <= limit_hz - 500]).max() < 0.01
    assert gain_db[hertz >= limit_hz + 200].max() < -45
    assert np.abs(np.roots(taps)).max() < 1, "of minimum phase, so of least delay"
    assert scipy.signal.group_delay((taps, [1.0]), [100.0], fs=SAMPLE_RATE)[1][0] < 3.5


@pytest.mark.parametrize("limit_hz", LIMITS_HZ)
def test_a_whole_prompt_is_filtered_as_scipy_does(limit_hz: int) -> None:
    loud = noise(1, 150, level=30_000.0)  # overshoots full scale, which must clip and not wrap round
    assert np.array_equal(low_passed(loud, limit_hz), by_scipy(loud, limit_hz))
    assert low_passed(loud, NO_LIMIT) is loud


class Compiled(LowPass):
    """The kernel of the compiled frame step, for two parts of the rows as two threads run it."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self._program = LayerEmitter(Weights(load_library()), slots)
        self._samples = self._program.keep(torch.zeros(slots, HOP, dtype=torch.int16)).numpy()
        self._program.limit(self._samples, self)
        self._program.complete()

    def apply(self, slots: Sequence[int] | npt.NDArray[np.int64], samples: Samples) -> None:
        count, numbers, seconds = len(slots), np.asarray(slots, np.int32), np.zeros(len(STAGES))
        self._samples[:count] = samples
        for begin, end in ((count // 2, count), (0, count // 2)):
            run = self._program._library.whispergpt_run
            run(self._program._handle, numbers.ctypes.data, begin, end, seconds.ctypes.data)
        samples[:] = self._samples[:count]


@pytest.mark.parametrize("kind", [LowPass, pytest.param(Compiled, marks=NEEDS_KERNELS)])
def test_streams_in_frames_in_any_company_are_what_each_is_as_a_whole(kind: type[LowPass]) -> None:
    """Slots of all limits and of none; in each step some of them, more than are filtered at a time."""
    slots, draw = 150, np.random.default_rng(0)
    limits = [(NO_LIMIT, *LIMITS_HZ)[slot % 5] if slot < 60 else 8_000 for slot in range(slots)]
    before = [noise(1000 + slot, 1) for slot in range(slots)]
    sounds = [noise(slot, level=6000.0 if slot % 3 else 30_000.0) for slot in range(slots)]
    filters = kind(slots)
    filters.begin(range(slots), limits, [sound[-HISTORY:] for sound in before])
    done, heard = np.zeros(slots, np.int64), [[] for _ in range(slots)]  # type: ignore[var-annotated]
    while (done < FRAMES).any():
        here = np.flatnonzero((done < FRAMES) & (draw.random(slots) < draw.choice([0.02, 0.5, 1.0])))
        samples = np.array([sounds[slot][done[slot] * HOP :][:HOP] for slot in here], np.int16).reshape(-1, HOP)
        filters.apply(here, samples)
        for slot, frame in zip(here, samples, strict=True):
            heard[slot].append(frame)
        done[here] += 1
    for slot, limit_hz in enumerate(limits):
        wanted = sounds[slot]
        if limit_hz:
            wanted = by_scipy(np.concatenate([before[slot], sounds[slot]]), limit_hz)[HOP:]
        assert np.array_equal(np.concatenate(heard[slot]), wanted), slot


def test_a_slot_forgets_its_last_stream() -> None:
    filters, slot = LowPass(3), np.array([1])
    filters.begin([1], [4_000], [noise(0, 1)[-HISTORY:]])
    filters.apply(slot, noise(1, 1).reshape(1, HOP))
    for limit_hz in (NO_LIMIT, 5_500):
        filters.begin([1], [limit_hz], [np.zeros(HISTORY, np.int16)])
        sound = noise(2, 1)
        frame = sound.reshape(1, HOP).copy()
        filters.apply(slot, frame)
        assert np.array_equal(frame[0], low_passed(sound, limit_hz))
