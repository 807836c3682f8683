"""``measure piano``: similarity of continuations in pace and harmony to their own piece and to those of other works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.training.measures.continuations import Continuation, Job, measure_continuations
from whispergpt.training.measures.figures.notes import Notes, histogram_distance
from whispergpt.training.measures.prompts import CutPrompt

SHARES = ("onsets_nearer", "pitch_nearer")
"""Figures that are shares, whose standard errors are among the means."""


def measure_piano(job: Job) -> dict[str, Any]:
    """Continue every prompt; compare with its true continuation and with those of the other works' prompts.

    Returns:
        The result of ``measure_continuations``. ``onsets_nearer`` and ``pitch_nearer`` of an entry are how often it is
        nearer to its own true continuation than to one of another work drawn at random, where a tie is half; all works
        count alike. ``…_nearer_error`` among the means are standard errors between works, ``…_nearer_prompt`` the
        prompts' own shares, an upper bound in practice.

    Raises:
        ValueError: there is only one piece.
        MissingError: a package is not installed.
    """
    groups = [prompt.group for prompt in job.prompts]
    if len(set(groups)) < 2:
        raise ValueError(f"There is nothing to compare with: all prompts are of one piece, {groups[0]}.")
    notes = Notes()
    rests = [_NoteFigures(notes, prompt.rest) for prompt in job.prompts]
    of_work: dict[str, list[_NoteFigures]] = {}
    for group, rest in zip(groups, rests, strict=True):
        of_work.setdefault(group, []).append(rest)

    def figures_of(index: int, prompt: CutPrompt, made: Continuation) -> dict[str, float | None]:
        heard, before, true = _NoteFigures(notes, made.audio), _NoteFigures(notes, prompt.audio), rests[index]
        others = [work for group, work in of_work.items() if group != prompt.group]
        return {
            "onsets": heard.onsets,
            "onsets_true": true.onsets,
            "onsets_other": _mean(lambda other: other.onsets, others),
            "onsets_nearer": _nearer(heard.pace_from, true, others),
            "onsets_nearer_prompt": _nearer(before.pace_from, true, others),
            "pitch_distance_true": heard.pitch_from(true),
            "pitch_distance_other": _mean(heard.pitch_from, others),
            "pitch_nearer": _nearer(heard.pitch_from, true, others),
            "pitch_nearer_prompt": _nearer(before.pitch_from, true, others),
        }

    result = measure_continuations(job, figures_of)
    return result | {"means": result["means"] | _errors([entry["figures"] for entry in result["files"]], groups)}


class _NoteFigures:
    """Onset rate and pitch classes of one sound."""

    def __init__(self, notes: Notes, audio: Samples) -> None:
        self.onsets, self._pitch = notes.onset_rate(audio), notes.pitch_classes(audio)

    def pace_from(self, other: _NoteFigures) -> float:
        return abs(self.onsets - other.onsets)

    def pitch_from(self, other: _NoteFigures) -> float:
        """Return the distance of the pitch classes, 0 to 1; silence has distance 1 from everything."""
        return 1.0 if self._pitch is None or other._pitch is None else histogram_distance(self._pitch, other._pitch)


def _mean(figure: Callable[[_NoteFigures], float], works: list[list[_NoteFigures]]) -> float:
    """Return the mean over works of the mean over each work's sounds."""
    return float(np.mean([np.mean([figure(sound) for sound in work]) for work in works]))


def _nearer(distance: Callable[[_NoteFigures], float], own: _NoteFigures, works: list[list[_NoteFigures]]) -> float:
    """Return how many of the other works' sounds are farther than the piece's own, in a mean over works."""
    near = distance(own)
    return _mean(lambda other: 0.5 if (far := distance(other)) == near else float(far > near), works)


def _errors(rows: list[dict[str, float]], groups: list[str]) -> dict[str, float]:
    """Return the standard errors of the mean shares, of which those of one work depend on each other.

    The sum of each work's deviations is one observation (Liang and Zeger 1986, for a mean).
    """
    works, place = np.unique(groups, return_inverse=True)
    count = len(works)
    errors = {}
    for name in SHARES:
        shares = np.array([row[name] for row in rows])
        deviations = np.bincount(place, shares - shares.mean())
        errors[f"{name}_error"] = float(np.sqrt((deviations**2).sum() * count / (count - 1)) / len(rows))
    return errors
