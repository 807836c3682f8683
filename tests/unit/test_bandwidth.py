"""The bandwidth of a prompt: recordings of lower sampling rates are found out, and nothing else is limited."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr

from tests.support.audio import SAMPLE_RATE, SPEECH, Samples, chord, encode_with_ffmpeg, silence, speech
from whispergpt.engine.audio.audio_file import read_audio
from whispergpt.engine.config import LIMITS_HZ, NO_LIMIT
from whispergpt.engine.prompts.bandwidth import Bandwidth

PIANO = SPEECH.with_name("piano.flac")


def limit_of(*pieces: Samples) -> int:
    bandwidth = Bandwidth()
    for piece in pieces:
        bandwidth.push(piece)
    return bandwidth.limit()


def in_16_bits(sound: Samples) -> Samples:
    return np.asarray(np.rint(sound * 32767) / 32768, np.float32)


def white(seconds: float, level: float = 0.1, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(0, level, round(seconds * SAMPLE_RATE)).astype(np.float32)


def noise_below(hertz: float, seconds: float = 2.0) -> Samples:
    taps = scipy.signal.firwin(1501, hertz - 50, window=("kaiser", 10.0), fs=SAMPLE_RATE)
    return np.asarray(scipy.signal.lfilter(taps, [1.0], white(seconds)), np.float32)


def at_rate(sound: Samples, rate: int) -> Samples:
    """Return a sound at 24 kHz as it is once it was sampled at a lower rate, in 16 bits."""
    lower = in_16_bits(np.asarray(soxr.resample(sound, SAMPLE_RATE, rate), np.float32))
    return np.asarray(soxr.resample(lower, rate, SAMPLE_RATE), np.float32)


@pytest.mark.parametrize(("hertz", "limit_hz"), [(3_400, 4_000), (4_000, 4_000), (5_500, 5_500), (7_000, 8_000)])
def test_noise_that_ends_at_a_low_frequency(hertz: float, limit_hz: int) -> None:
    assert limit_of(noise_below(hertz)) == limit_of(in_16_bits(noise_below(hertz))) == limit_hz


@pytest.mark.parametrize(("hertz", "limit_hz"), [(8_000, 8_000), (11_000, 11_000), (11_900, NO_LIMIT)])
def test_noise_that_ends_at_a_high_frequency(hertz: float, limit_hz: int) -> None:
    assert limit_of(noise_below(hertz)) == limit_of(in_16_bits(noise_below(hertz))) == limit_hz


@pytest.mark.parametrize(("rate", "limit_hz"), list(zip((8_000, 11_025, 16_000, 22_050), LIMITS_HZ, strict=True)))
def test_recordings_of_lower_rates(rate: int, limit_hz: int) -> None:
    voice, piano = speech(4.0), read_audio(PIANO)
    wide = voice + white(len(voice) / SAMPLE_RATE, 1e-3)  # the bundled voice itself ends at 8 kHz
    assert limit_of(at_rate(wide, rate)) == limit_of(at_rate(piano, rate)) == limit_hz
    assert limit_of(wide) == limit_of(piano) == NO_LIMIT


def test_the_bundled_voice_of_16_khz_in_any_pieces_and_any_half_second() -> None:
    voice = speech(4.0)
    assert limit_of(voice) == limit_of(*np.array_split(voice, 97)) == limit_of(in_16_bits(voice)) == 8_000
    cuts = [limit_of(voice[first : first + SAMPLE_RATE // 2]) for first in range(0, 3 * SAMPLE_RATE, SAMPLE_RATE // 4)]
    assert set(cuts) <= {8_000, NO_LIMIT} and cuts.count(8_000) >= 9


def test_a_telephone_call() -> None:
    """G.711 holds its own noise, which ends at 4 kHz too."""
    samples, rate = soundfile.read(SPEECH, dtype="float32")
    narrow = np.asarray(soxr.resample(samples, rate, 8_000), np.float32)
    assert limit_of(read_audio(encode_with_ffmpeg(narrow, 8_000, "wav", "pcm_mulaw"))) == 4_000


def test_what_has_no_limit() -> None:
    t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    clicks = silence(2.0)
    clicks[5000::9000] = 0.5
    hum = np.asarray(sum(0.1 / n * np.sin(2 * np.pi * 50 * n * t) for n in (1, 2, 3, 5, 7)), np.float32)
    tones = [np.asarray(0.3 * np.sin(2 * np.pi * hertz * t), np.float32) for hertz in (440, 3_900, 7_900, 10_900)]
    sounds = [silence(2.0), white(2.0, 1e-6), clicks, hum, hum + white(2.0, 1e-3), chord(2.0), *tones]
    sounds += [np.asarray(scipy.signal.chirp(t, 50, 2.0, 11_900) * 0.3, np.float32), white(2.0), white(0.5)]
    sounds += [np.asarray(np.cumsum(white(2.0)) / 200, np.float32)]  # falls by 6 dB an octave
    found = [
        (number, limit_of(kind(sound))) for number, sound in enumerate(sounds) for kind in (np.asarray, in_16_bits)
    ]
    assert [entry for entry in found if entry[1] != NO_LIMIT] == []


def test_a_click_or_a_hiss_within_half_a_second_takes_the_limit_away() -> None:
    """A sound above the limit is heard in the prompt, and may be heard in what follows."""
    for beyond in (np.zeros(SAMPLE_RATE), white(0.02, 0.05)):
        voice = speech(4.0)
        voice[SAMPLE_RATE : SAMPLE_RATE + len(beyond)] += beyond.astype(np.float32)
        assert limit_of(voice) == (NO_LIMIT if beyond.any() else 8_000)
