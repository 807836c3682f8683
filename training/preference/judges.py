"""Judges of continuations: how good each one is, of several that a model draws for the same prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, get_args

import numpy as np

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.measures.figures.listening import Dnsmos
from whispergpt.training.measures.figures.notes import Notes, histogram_distance
from whispergpt.training.measures.figures.silence import recording_level, silent_share
from whispergpt.training.measures.figures.stillness import still_share
from whispergpt.training.measures.figures.voice import VoiceLikeness

Kind = Literal["speech", "piano"]
KINDS: tuple[str, ...] = get_args(Kind)
Judge = Callable[[Samples, Samples, Samples], float]
"""Function that scores a continuation, given its prompt, its true continuation and itself ``[n]`` at 24 kHz."""

DNSMOS_SAMPLES = int(9.01 * SAMPLE_RATE) + 1
"""Samples of one of DNSMOS's windows; a longer sound is rated once for each second more."""
STILL_COST, SILENCE_COST = 2.0, 3.0
PROMPT_SHARE = 0.5
"""Weight of the distance to the prompt's pitch classes, beside that to the true continuation's."""
ONSET_COST = 0.1
LEAST_ONSETS = 0.5
"""Onsets a second from which on a difference counts in full."""
OTHERS, OTHER_SAMPLES = 64, 8 * SAMPLE_RATE
"""Most pieces to compare with, and samples of each."""


def judge_of(kind: Kind, data: AudioSet) -> Judge:
    """Return the judge of a kind of sound; ``data``: recordings, some of which a judge of pieces compares with.

    Raises:
        MissingError: a package that it listens with is not installed.
        ValueError: no recording is long enough to compare with.
    """
    return SpeechJudge() if kind == "speech" else PianoJudge(_others(data))


def _others(data: AudioSet) -> Iterator[Samples]:
    """Yield the beginnings of recordings drawn from ``data``.

    Raises:
        ValueError: no recording is long enough.
    """
    clips = sorted((c for c in data.clips if c.samples >= OTHER_SAMPLES), key=lambda c: (c.group, c.path))
    if not clips:
        raise ValueError(f"no recording has {OTHER_SAMPLES // SAMPLE_RATE} s, to compare pitch classes with")
    for i in np.random.default_rng(0).permutation(len(clips))[:OTHERS]:
        yield data.read(clips[i], 0, OTHER_SAMPLES)


class SpeechJudge:
    """Judge of voices: quality (DNSMOS), the prompt's voice (Resemblyzer), no drone, and as much silence as is true."""

    def __init__(self) -> None:
        self._rate, self._likeness = Dnsmos(), VoiceLikeness()

    def __call__(self, prompt: Samples, rest: Samples, made: Samples) -> float:
        level = recording_level(np.concatenate([prompt, rest]))
        quality = self._rate(np.resize(made, DNSMOS_SAMPLES))
        still = still_share(made, level) or 0.0
        pauses = abs(silent_share(made, level) - silent_share(rest, level))
        return quality + self._likeness(prompt, made) - STILL_COST * still - SILENCE_COST * pauses


class PianoJudge:
    """Judge of pieces: pitch classes nearer to those of the true continuation and of the prompt than to other pieces',
    and as many onsets as the true continuation has.

    Args:
        others: pieces to compare with. Without them a continuation would gain by many notes of all keys, which are near
            to every piece.
    """

    def __init__(self, others: Iterable[Samples]) -> None:
        self._notes = Notes()
        found = (self._notes.pitch_classes(sound) for sound in others)
        self._others = [histogram for histogram in found if histogram is not None]

    def __call__(self, prompt: Samples, rest: Samples, made: Samples) -> float:
        before, true, heard = (self._notes.pitch_classes(sound) for sound in (prompt, rest, made))
        wanted, struck = self._notes.onset_rate(rest), self._notes.onset_rate(made)
        score = -ONSET_COST * min(1.0, abs(struck - wanted) / max(wanted, LEAST_ONSETS))
        if heard is None:
            return score - 1.0
        usual = float(np.mean([histogram_distance(heard, other) for other in self._others]))
        for share, own in ((1.0, true), (PROMPT_SHARE, before)):
            score += 0.0 if own is None else share * (usual - histogram_distance(heard, own))
        return score
