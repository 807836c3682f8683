"""Judges of continuations: how good each one is, of several that a model draws for the same prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import SAMPLE_RATE
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


def judge_of(kind: Kind) -> Judge:
    """Return the judge of a kind of sound.

    Raises:
        MissingError: a package that it listens with is not installed.
    """
    return SpeechJudge() if kind == "speech" else PianoJudge()


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
    """Judge of pieces: pitch classes near those of the true continuation and of the prompt, and as many onsets."""

    def __init__(self) -> None:
        self._notes = Notes()

    def __call__(self, prompt: Samples, rest: Samples, made: Samples) -> float:
        before, true, heard = (self._notes.pitch_classes(sound) for sound in (prompt, rest, made))
        if heard is None:
            return -1.0 - PROMPT_SHARE - ONSET_COST
        far = sum(
            share * histogram_distance(heard, other)
            for share, other in ((1.0, true), (PROMPT_SHARE, before))
            if other is not None
        )
        wanted, struck = self._notes.onset_rate(rest), self._notes.onset_rate(made)
        return -far - ONSET_COST * min(1.0, abs(struck - wanted) / max(wanted, 0.5))
