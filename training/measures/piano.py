"""``measure piano``: similarity of continuations in pace and harmony to their own piece and to another."""

from __future__ import annotations

from typing import Any

import numpy as np

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.engine import Engine
from whispergpt.engine.messages import SamplingParams
from whispergpt.training.measures.continuations import continue_prompts, keep_continuation
from whispergpt.training.measures.faults import continuation_faults, with_shares
from whispergpt.training.measures.figures.notes import Notes, histogram_distance
from whispergpt.training.measures.prompts import CutPrompt
from whispergpt.training.measures.recordings import Recordings
from whispergpt.training.measures.report import Keeper, means


def measure_piano(
    engine: Engine,
    prompts: list[CutPrompt],
    recordings: Recordings,
    seconds: float,
    sampling: SamplingParams,
    keeper: Keeper,
) -> dict[str, Any]:
    """Continue every prompt; compare with its true continuation and with one of another piece, drawn at random.

    Returns:
        ``files``, one entry a prompt; ``skipped``; ``means``. Among the means, ``onsets_nearer`` and ``pitch_nearer``
        are the shares of continuations that are nearer to their own piece, where a tie is half. ``…_nearer_prompt`` are
        the prompts' own shares, an upper bound in practice. ``opened_share`` is the share of continuations that open
        the band above 8.2 kHz.

    Raises:
        ValueError: there is only one piece.
        MissingError: a package is not installed.
    """
    if len({prompt.group for prompt in prompts}) < 2:
        raise ValueError(f"There is nothing to compare with: all prompts are of one piece, {prompts[0].group}.")
    notes = Notes()
    made = continue_prompts(engine, [prompt.audio for prompt in prompts], seconds, sampling)
    true = [_NoteFigures(notes, prompt.rest) for prompt in prompts]
    draw = np.random.default_rng(sampling.seed)
    entries: list[dict[str, Any]] = []
    for index, (prompt, continuation) in enumerate(zip(prompts, made, strict=True)):
        elsewhere = [i for i, other in enumerate(prompts) if other.group != prompt.group]
        other = elsewhere[int(draw.integers(len(elsewhere)))]
        heard, before = _NoteFigures(notes, continuation.audio), _NoteFigures(notes, prompt.audio)
        figures: dict[str, float | None] = {
            "onsets": heard.onsets,
            "onsets_true": true[index].onsets,
            "onsets_other": true[other].onsets,
            "onsets_nearer": _nearer(heard.pace_from(true[index]), heard.pace_from(true[other])),
            "onsets_nearer_prompt": _nearer(before.pace_from(true[index]), before.pace_from(true[other])),
            "pitch_distance_true": heard.pitch_from(true[index]),
            "pitch_distance_other": heard.pitch_from(true[other]),
            "pitch_nearer": _nearer(heard.pitch_from(true[index]), heard.pitch_from(true[other])),
            "pitch_nearer_prompt": _nearer(before.pitch_from(true[index]), before.pitch_from(true[other])),
            **continuation_faults(prompt, continuation),
        }
        entry = keep_continuation(keeper, prompt, continuation, sampling.seed + index)
        entries.append(entry | {"other": prompts[other].file, "figures": figures})
    row = with_shares(means(entry["figures"] for entry in entries))
    return {"files": entries, "means": row, "skipped": recordings.skipped}


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
