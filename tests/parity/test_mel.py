"""Causal log-mel slices: streaming equals offline, no sample from ahead is seen, and the filters are what they say."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from whispergpt.engine.config import HOP, MelConfig
from whispergpt.engine.model.mel import CausalMel, mel_filterbank
from whispergpt.engine.model.streaming import reset

CPU = torch.device("cpu")
CONFIG = MelConfig()


@pytest.fixture(scope="module")
def mel() -> CausalMel:
    return CausalMel(CONFIG)


def audio(frames: int, batch: int = 2, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return 0.1 * torch.randn(batch, frames * HOP)


@pytest.mark.parametrize("seed", range(8))
def test_streaming_equals_offline_in_any_chunking(mel: CausalMel, seed: int) -> None:
    samples, rng = audio(40, seed=seed), random.Random(seed)
    offline = mel(samples)
    assert offline.shape == (2, 40, CONFIG.n_mels)
    state, parts, at = mel.init_state(2, CPU), [], 0
    while at < 40:
        count = min(40 - at, rng.randint(1, 9))
        parts.append(mel.step(samples[:, at * HOP : (at + count) * HOP], state))
        at += count
    assert (torch.cat(parts, 1) - offline).abs().max() < 1e-5


def test_slots_start_and_pause_on_their_own(mel: CausalMel) -> None:
    samples, rng = audio(60, batch=3), random.Random(0)
    state = mel.init_state(3, CPU)
    places, started, heard = [0] * 3, [0] * 3, [[] for _ in range(3)]  # type: ignore[var-annotated]
    for _ in range(50):
        active = torch.tensor([rng.random() < 0.6 for _ in range(3)])
        now = torch.full((3, HOP), float("nan"))  # What stands in an idle row must not matter.
        for slot in range(3):
            if active[slot]:
                now[slot] = samples[slot, places[slot] * HOP : (places[slot] + 1) * HOP]
        slices = mel.step(now, state, active)
        for slot in range(3):
            if active[slot]:
                heard[slot].append(slices[slot, 0])
                places[slot] += 1
        ending = torch.tensor([len(heard[slot]) > 5 and rng.random() < 0.1 for slot in range(3)])
        for slot in range(3):
            if ending[slot]:
                expected = mel(samples[slot : slot + 1, started[slot] * HOP : places[slot] * HOP])[0]
                assert (torch.stack(heard[slot]) - expected).abs().max() < 1e-5
                started[slot], heard[slot] = places[slot], []
        reset(state, ending)
    assert sum(started) > 20


@pytest.mark.parametrize("frame", [0, 1, 2, 3, 17, 28])
def test_no_future_sample_is_seen(mel: CausalMel, frame: int) -> None:
    samples = audio(30)
    before = mel(samples)
    for ahead in (float("nan"), float("inf"), 1e6):
        changed = samples.clone()
        changed[:, (frame + 1) * HOP :] = ahead
        assert torch.equal(mel(changed)[:, : frame + 1], before[:, : frame + 1])


def test_a_slice_sees_its_own_frame_to_the_end(mel: CausalMel) -> None:
    """The window is near zero at its end, so one of the last few samples must be changed by much to show."""
    samples = audio(30)
    before = mel(samples)
    changed = samples.clone()
    changed[:, 18 * HOP - 1] += 1_000.0  # The last sample of frame 17.
    after = mel(changed)
    assert torch.equal(after[:, :17], before[:, :17])
    assert not torch.equal(after[:, 17], before[:, 17])
    # Its window reaches 1024 samples back: to the 65th sample of frame 14, and no further.
    history = samples.clone()
    history[:, : 18 * HOP - CONFIG.window] += 1_000.0
    assert torch.equal(mel(history)[:, 17], before[:, 17])
    history[:, 18 * HOP - CONFIG.window + 1] += 1_000.0
    assert not torch.equal(mel(history)[:, 17], before[:, 17])


def test_silence_is_finite_and_fixed(mel: CausalMel) -> None:
    slices = mel(torch.zeros(1, 20 * HOP))
    assert torch.equal(slices, torch.full_like(slices, (math.log10(CONFIG.floor) + 1) / 2))
    assert torch.equal(mel.step(torch.zeros(1, HOP), mel.init_state(1, CPU)), slices[:, :1])


def test_the_scale_is_fixed(mel: CausalMel) -> None:
    """Ten times louder is half a unit higher, in every slice: nothing is normalised by what else is heard."""
    quiet = mel(audio(20))
    assert torch.allclose(mel(10 * audio(20)), quiet + 0.5, atol=1e-4)
    assert quiet.min() >= -2 and quiet.max() <= 2


def test_filters_against_the_formula() -> None:
    """The bank, from the textbook formula in numpy: triangles between equal steps of 2595·log10(1 + f/700)."""
    bank = mel_filterbank(CONFIG.window, CONFIG.n_mels, CONFIG.low_hz, CONFIG.high_hz).numpy()
    step = [2595 * math.log10(1 + hz / 700) for hz in (CONFIG.low_hz, CONFIG.high_hz)]
    corners = [
        700 * (10 ** ((step[0] + (step[1] - step[0]) * i / (CONFIG.n_mels + 1)) / 2595) - 1)
        for i in range(CONFIG.n_mels + 2)
    ]
    frequencies = [24_000 * k / CONFIG.window for k in range(CONFIG.window // 2 + 1)]
    for m in range(CONFIG.n_mels):
        left, peak, right = corners[m : m + 3]
        expected = np.interp(frequencies, [left, peak, right], [0, 1, 0])
        assert np.abs(bank[:, m] - expected).max() < 1e-6


def test_no_filter_is_empty() -> None:
    bank = mel_filterbank(CONFIG.window, CONFIG.n_mels, CONFIG.low_hz, CONFIG.high_hz)
    assert bank.shape == (CONFIG.window // 2 + 1, CONFIG.n_mels)
    assert (bank >= 0).all() and (bank <= 1).all()
    assert ((bank > 0).sum(0) >= 2).all()
    assert (bank.sum(0) > 1).all()
    # Between the first and the last peak, neighbouring triangles add up to one.
    peaks = bank.argmax(0)
    assert torch.allclose(bank.sum(1)[peaks[0] + 1 : peaks[-1]], torch.ones(1), atol=1e-5)
    assert bank[0].sum() == 0 and bank[-1].sum() == 0


@pytest.mark.parametrize("hz", [100.0, 440.0, 1_000.0, 5_000.0, 11_000.0])
def test_a_tone_is_loudest_in_its_own_band(mel: CausalMel, hz: float) -> None:
    tone = 0.3 * torch.sin(2 * math.pi * hz * torch.arange(20 * HOP) / 24_000)[None]
    loudest = int(mel(tone)[0, -1].argmax())
    low, high = (2595 * math.log10(1 + f / 700) for f in (CONFIG.low_hz, CONFIG.high_hz))
    place = (2595 * math.log10(1 + hz / 700) - low) / (high - low) * (CONFIG.n_mels + 1) - 1
    assert abs(loudest - place) <= 1
