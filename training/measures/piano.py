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
        The result of ``measure_continuations``. ``onsets_nearer`` and ``pitch_nearer`` of an entry are the shares of
        the other works' true continuations that are farther than its own, where a tie is half: their mean is how
        often a continuation is nearer to its own piece than to another drawn at random. ``…_nearer_error`` among the
        means are its standard errors, ``…_nearer_prompt`` the prompts' own shares, an upper bound in practice.

    Raises:
        ValueError: there is only one piece.
        MissingError: a package is not installed.
    """
    groups = [prompt.group for prompt in job.prompts]
    if len(set(groups)) < 2:
        raise ValueError(f"There is nothing to compare with: all prompts are of one piece, {groups[0]}.")
    notes = Notes()
    rests = [_NoteFigures(notes, prompt.rest) for prompt in job.prompts]

    def figures_of(index: int, prompt: CutPrompt, made: Continuation) -> dict[str, float | None]:
        heard, before, true = _NoteFigures(notes, made.audio), _NoteFigures(notes, prompt.audio), rests[index]
        others = [rest for rest, group in zip(rests, groups, strict=True) if group != prompt.group]
        return {
            "onsets": heard.onsets,
            "onsets_true": true.onsets,
            "onsets_other": float(np.mean([other.onsets for other in others])),
            "onsets_nearer": _nearer(heard.pace_from, true, others),
            "onsets_nearer_prompt": _nearer(before.pace_from, true, others),
            "pitch_distance_true": heard.pitch_from(true),
            "pitch_distance_other": float(np.mean([heard.pitch_from(other) for other in others])),
            "pitch_nearer": _nearer(heard.pitch_from, true, others),
            "pitch_nearer_prompt": _nearer(before.pitch_from, true, others),
        }

    result = measure_continuations(job, figures_of)
    return result | {"means": result["means"] | _errors([entry["figures"] for entry in result["files"]])}


class _NoteFigures:
    """Onset rate and pitch classes of one sound."""

    def __init__(self, notes: Notes, audio: Samples) -> None:
        self.onsets, self._pitch = notes.onset_rate(audio), notes.pitch_classes(audio)

    def pace_from(self, other: _NoteFigures) -> float:
        return abs(self.onsets - other.onsets)

    def pitch_from(self, other: _NoteFigures) -> float:
        """Return the distance of the pitch classes, 0 to 1; silence has distance 1 from everything."""
        return 1.0 if self._pitch is None or other._pitch is None else histogram_distance(self._pitch, other._pitch)


def _nearer(distance: Callable[[_NoteFigures], float], own: _NoteFigures, others: list[_NoteFigures]) -> float:
    """Return the share of ``others`` that are farther than the own piece; those as far count half."""
    near, far = distance(own), np.array([distance(other) for other in others])
    return float(np.mean((far > near) + 0.5 * (far == near)))


def _errors(rows: list[dict[str, float]]) -> dict[str, float | None]:
    """Return the standard errors of the mean shares; None for a single prompt."""
    count = len(rows)
    spread = {name: np.std([row[name] for row in rows], ddof=1) if count > 1 else None for name in SHARES}
    return {f"{name}_error": None if s is None else float(s) / count**0.5 for name, s in spread.items()}
