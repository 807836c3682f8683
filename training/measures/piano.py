"""``measure piano``: similarity of continuations in pace and harmony to their own piece and to another."""

from __future__ import annotations

from typing import Any

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.training.measures.continuations import Continuation, Job, draw_others, measure_continuations
from whispergpt.training.measures.figures.notes import Notes, histogram_distance
from whispergpt.training.measures.prompts import CutPrompt


def measure_piano(job: Job) -> dict[str, Any]:
    """Continue every prompt; compare with its true continuation and with one of another piece, drawn at random.

    Returns:
        The result of ``measure_continuations``, with the other piece of each entry. Among the means, ``onsets_nearer``
        and ``pitch_nearer`` are the shares of continuations that are nearer to their own piece, where a tie is half.
        ``…_nearer_prompt`` are the prompts' own shares, an upper bound in practice.

    Raises:
        ValueError: there is only one piece.
        MissingError: a package is not installed.
    """
    others = [other for other in draw_others(job.prompts, job.sampling.seed) if other is not None]
    if len(others) < len(job.prompts):
        raise ValueError(f"There is nothing to compare with: all prompts are of one piece, {job.prompts[0].group}.")
    notes = Notes()

    def figures_of(index: int, prompt: CutPrompt, made: Continuation) -> dict[str, float | None]:
        sounds = (made.audio, prompt.audio, prompt.rest, others[index].rest)
        heard, before, true, other = (_NoteFigures(notes, audio) for audio in sounds)
        return {
            "onsets": heard.onsets,
            "onsets_true": true.onsets,
            "onsets_other": other.onsets,
            "onsets_nearer": _nearer(heard.pace_from(true), heard.pace_from(other)),
            "onsets_nearer_prompt": _nearer(before.pace_from(true), before.pace_from(other)),
            "pitch_distance_true": heard.pitch_from(true),
            "pitch_distance_other": heard.pitch_from(other),
            "pitch_nearer": _nearer(heard.pitch_from(true), heard.pitch_from(other)),
            "pitch_nearer_prompt": _nearer(before.pitch_from(true), before.pitch_from(other)),
        }

    result = measure_continuations(job, figures_of)
    for entry, other in zip(result["files"], others, strict=True):
        entry["other"] = other.file
    return result


class _NoteFigures:
    """Onset rate and pitch classes of one sound."""

    def __init__(self, notes: Notes, audio: Samples) -> None:
        self.onsets, self._pitch = notes.onset_rate(audio), notes.pitch_classes(audio)

    def pace_from(self, other: _NoteFigures) -> float:
        return abs(self.onsets - other.onsets)

    def pitch_from(self, other: _NoteFigures) -> float:
        """Return the distance of the pitch classes, 0 to 1; silence has distance 1 from everything."""
        return 1.0 if self._pitch is None or other._pitch is None else histogram_distance(self._pitch, other._pitch)


def _nearer(own: float, other: float) -> float:
    """Return 1 if the own piece is nearer, 0 if the other is, 0.5 for a tie."""
    return 0.5 if own == other else float(own < other)
