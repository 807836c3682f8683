"""Stalls: what is heard in them, and which code is to follow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from whispergpt.training.tokens.stalls import (
    FEWEST_FRAMES,
    HELD_FRAMES,
    MOST_FRAMES,
    MOST_REPEATED,
    stalled,
    unstalled,
)
from whispergpt.training.tokens.token_crops import NO_TARGET, TokenCrops
from whispergpt.training.tokens.tokens import Tokens


@pytest.mark.parametrize("seed", range(200))
def test_a_stall_repeats_frames_before_it_and_is_left_for_the_frame_after_it(seed: int) -> None:
    frames = int(np.random.default_rng(seed).integers(2 * FEWEST_FRAMES, 800))
    heard, following = stalled(np.random.default_rng(seed), frames)
    assert heard.shape == (frames,) and following.shape == (frames - 1,)
    first = int(np.flatnonzero(heard != np.arange(frames))[0])
    after = np.flatnonzero(heard == first)
    end = int(after[0]) if len(after) else frames
    assert FEWEST_FRAMES <= end - first <= MOST_FRAMES or end == frames
    assert heard[:first].tolist() == list(range(first)) and following[:first].tolist() == list(range(1, first + 1))
    assert set(heard[first:end].tolist()) <= set(range(first - MOST_REPEATED, first))
    assert heard[end:].tolist() == list(range(first, first + frames - end))
    inside = following[first : min(end, frames - 1)]
    assert (inside[:HELD_FRAMES] == -1).all() and (inside[HELD_FRAMES:] == first).all()
    assert following[end:].tolist() == heard[end + 1 :].tolist()


def test_a_recording_too_short_for_a_stall_stays_as_it_is() -> None:
    heard, following = stalled(np.random.default_rng(0), 2 * FEWEST_FRAMES - 1)
    same, next_ones = unstalled(2 * FEWEST_FRAMES - 1)
    assert (heard == same).all() and (following == next_ones).all()


def test_crops_with_stalls_hear_the_repeated_slices_and_learn_how_the_recording_goes_on() -> None:
    frames = 400
    codes = np.repeat(np.arange(frames, dtype=np.uint16)[:, None], 8, 1)
    tokens = Tokens(codes, {"own": codes[:, :4].astype(np.float16)}, [(0, frames)])
    plain, stalls = (
        TokenCrops([tokens], 64, 300, 0, {"own": 1.0}, ("own", "own"), 0.0, stall_share=share) for share in (0.0, 0.5)
    )
    batch = stalls.batch(3)
    assert torch.equal(batch.mels[..., 0], batch.codes[:, :-1, 0].float()), "slices belong to the codes"
    steady = (batch.codes[:, 1:, 0] - batch.codes[:, :-1, 0] == 1).all(1)
    assert 0.3 < float(steady.float().mean()) < 0.7
    assert batch.known[steady].all() and not batch.known[~steady].all(1).any()
    for codes_of, targets in zip(batch.codes[~steady, :, 0], batch.targets[~steady], strict=True):
        untaught = targets == NO_TARGET
        assert untaught.sum() <= HELD_FRAMES
        # Each code that is to be learnt is the one after the highest that was heard so far.
        assert torch.equal(targets[~untaught], (codes_of[:-1].cummax(0).values + 1)[~untaught])
    again = plain.batch(3)
    assert (again.codes[:, 1:, 0] - again.codes[:, :-1, 0] == 1).all() and again.known.all()
