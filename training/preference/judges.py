"""Judges of continuations: how good each one is, of several that a model draws for the same prompt."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.measures.figures.listening import Dnsmos
from whispergpt.training.measures.figures.notes import Notes, histogram_distance
from whispergpt.training.measures.figures.packages import versions
from whispergpt.training.measures.figures.silence import recording_level, silent_share
from whispergpt.training.measures.figures.stillness import still_share
from whispergpt.training.measures.figures.voice import VoiceLikeness

Kind = Literal["speech", "piano"]

DNSMOS_SAMPLES = int(9.01 * SAMPLE_RATE) + 1
"""Samples of DNSMOS's window: a sound of this length is rated once, a longer one again for each second more."""
STILL_COST = 2.0
"""Points for a sound that stands still throughout."""
SILENCE_COST = 3.0
"""Points for a difference of one in the share of silence."""
PROMPT_SHARE = 0.5
"""Weight of the distance to the prompt's pitch classes, beside that to the true continuation's."""
ONSET_COST = 0.1
"""Points for twice as many onsets as are true, or for none."""
LEAST_ONSETS = 0.5
"""Onsets a second from which on a difference counts in full."""
OTHERS, OTHER_SAMPLES = 64, 8 * SAMPLE_RATE
"""Most pieces to compare with, and samples of each."""


@dataclass(frozen=True)
class Sounds:
    """A prompt, its true continuation and a drawn one, ``[n]`` at 24 kHz each; ``group``: their speaker or work."""

    group: str
    prompt: Samples
    rest: Samples
    made: Samples


class Judge(Protocol):
    """Judge of continuations, whose scores can be compared for one prompt; ``key``: what they depend on."""

    key: str

    def __call__(self, sounds: Sounds) -> float: ...


def judge_of(kind: Kind, data: AudioSet) -> Judge:
    """Return the judge of a kind of sound; ``data``: recordings, some of which a judge of pieces compares with.

    Raises:
        MissingError: a package that it listens with is not installed.
        ValueError: no recording is long enough to compare with.
    """
    return SpeechJudge() if kind == "speech" else PianoJudge(_others(data))


def _others(data: AudioSet) -> list[tuple[str, Samples]]:
    """Return the beginnings of recordings drawn from ``data``, and their groups.

    Raises:
        ValueError: no recording is long enough.
    """
    clips = sorted((c for c in data.clips if c.samples >= OTHER_SAMPLES), key=lambda c: (c.group, c.path))
    if not clips:
        raise ValueError(f"no recording has {OTHER_SAMPLES // SAMPLE_RATE} s, to compare pitch classes with")
    drawn = np.random.default_rng(0).permutation(len(clips))[:OTHERS]
    return [(clips[i].group, data.read(clips[i], 0, OTHER_SAMPLES)) for i in drawn]


class SpeechJudge:
    """Judge of voices: quality (DNSMOS), the prompt's voice (Resemblyzer), no drone, and as much silence as is true."""

    def __init__(self) -> None:
        self._rate, self._likeness = Dnsmos(), VoiceLikeness()
        self.key = repr(("speech", DNSMOS_SAMPLES, STILL_COST, SILENCE_COST, versions(("speechmos", "resemblyzer"))))

    def __call__(self, sounds: Sounds) -> float:
        level = recording_level(np.concatenate([sounds.prompt, sounds.rest]))
        made = sounds.made
        quality = self._rate(made if len(made) > DNSMOS_SAMPLES else np.resize(made, DNSMOS_SAMPLES))
        still = still_share(made, level) or 0.0
        pauses = abs(silent_share(made, level) - silent_share(sounds.rest, level))
        return quality + self._likeness(sounds.prompt, made) - STILL_COST * still - SILENCE_COST * pauses


class PianoJudge:
    """Judge of pieces: pitch classes nearer to those of the true continuation and of the prompt than to other works',
    and as many onsets as the true continuation has.

    Args:
        others: groups and sounds to compare with. Without them a continuation would gain by many notes of all keys,
            which are near to every piece.
    """

    def __init__(self, others: list[tuple[str, Samples]]) -> None:
        self._notes = Notes()
        found = [(group, self._notes.pitch_classes(sound)) for group, sound in others]
        self._others = [(group, histogram) for group, histogram in found if histogram is not None]
        compared = hashlib.sha256(b"".join(histogram.tobytes() for _, histogram in self._others)).hexdigest()
        self.key = repr(("piano", PROMPT_SHARE, ONSET_COST, LEAST_ONSETS, compared, versions(("librosa",))))

    def __call__(self, sounds: Sounds) -> float:
        before, true, heard = (self._notes.pitch_classes(sound) for sound in (sounds.prompt, sounds.rest, sounds.made))
        wanted, struck = self._notes.onset_rate(sounds.rest), self._notes.onset_rate(sounds.made)
        score = -ONSET_COST * min(1.0, abs(struck - wanted) / max(wanted, LEAST_ONSETS))
        others = [histogram for group, histogram in self._others if group != sounds.group]
        if not others:
            raise ValueError(f"all pieces are of one work, {sounds.group}: there is nothing to compare with")
        if heard is None:
            return score - 1.0
        usual = float(np.mean([histogram_distance(heard, other) for other in others]))
        for share, own in ((1.0, true), (PROMPT_SHARE, before)):
            score += 0.0 if own is None else share * (usual - histogram_distance(heard, own))
        return score
