"""Live PCM: what it costs to refuse it, and how it is cut for the threads that listeners wait for too."""

from __future__ import annotations

import time

import numpy as np
import pytest

from whispergpt.engine.audio.audio_file import AudioError, cut_prompt
from whispergpt.server.audio.audio_io import PcmPrompt


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100, 192_000])
def test_pcm_that_is_too_long_is_refused_before_it_is_resampled(rate: int) -> None:
    """One thread in two would be taken for a second, and those who listen wait for the same threads."""
    prompt, too_much = PcmPrompt(rate), bytes(2 * rate * 60 + 16 * 2**20)
    began = time.thread_time()
    with pytest.raises(AudioError, match="longer than 60 s") as refused:
        prompt.push(too_much)
    assert time.thread_time() - began < 0.02
    assert refused.value.code == "too_long"


@pytest.mark.parametrize("rate", [8_000, 11_025, 24_000, 192_000])
def test_the_limit_of_pcm_is_counted_in_its_own_samples(rate: int) -> None:
    prompt = PcmPrompt(rate)
    got = len(prompt.push(bytes(rate))) + len(prompt.push(bytes(2 * rate * 60 - rate)))
    prompt.require_room(0)
    with pytest.raises(AudioError, match="60 s"):
        prompt.require_room(2)
    with pytest.raises(AudioError, match="60 s"):
        prompt.push(bytes(2))
    last, seconds = prompt.finish()
    assert seconds == 60 and got + len(last) == 60 * 24_000 * 4


@pytest.mark.parametrize("count", [11_999, 11_951])
def test_what_is_just_too_short_is_not_said_to_be_long_enough(count: int) -> None:
    with pytest.raises(AudioError, match=r"has 0\.49 s of audio; at least 0\.5 s"):
        cut_prompt(np.zeros(count, np.float32))
    with pytest.raises(AudioError, match=r"has 0\.29 s"):
        cut_prompt(np.zeros(6_960, np.float32))
