"""``measure speech``: quality, likeness of voice, and shares of silence and of drone of continuations of speech."""

from __future__ import annotations

from typing import Any

import numpy as np

from whispergpt.training.measures.continuations import Continuation, Job, draw_others, measure_continuations
from whispergpt.training.measures.figures.listening import Dnsmos
from whispergpt.training.measures.figures.silence import recording_level, silent_share
from whispergpt.training.measures.figures.stillness import still_share
from whispergpt.training.measures.figures.voice import VoiceLikeness
from whispergpt.training.measures.prompts import CutPrompt

LEAST_REST_SECONDS = 2.0
"""Seconds of the shortest true continuation whose share of silence is measured."""


def measure_speech(job: Job) -> dict[str, Any]:
    """Continue every prompt, measure the continuations and return the result of ``measure_continuations``.

    Among the means, ``dnsmos_below_prompt`` is the prompt's score after the codec less the continuation's.
    ``likeness_ratio`` is the likeness of prompt and continuation over that of the prompt's halves. ``silence_ratio`` is
    relative to the true rest.

    Raises:
        MissingError: a package is not installed.
    """
    rate, likeness = Dnsmos(), VoiceLikeness()
    strangers = draw_others(job.prompts, job.sampling.seed)

    def figures_of(index: int, prompt: CutPrompt, made: Continuation) -> dict[str, float | None]:
        level = recording_level(np.concatenate([prompt.audio, prompt.rest]))
        half = len(prompt.audio) // 2
        stranger = strangers[index]
        return {
            "dnsmos_original": rate(prompt.audio),
            "dnsmos_prompt": rate(made.prompt),
            "dnsmos": rate(made.audio),
            "likeness_halves": likeness(prompt.audio[:half], prompt.audio[half:]),
            "likeness": likeness(prompt.audio, made.audio),
            "likeness_rest": likeness(prompt.audio, prompt.rest),
            "likeness_stranger": None if stranger is None else likeness(prompt.audio, stranger.rest),
            "silence": silent_share(made.audio, level),
            "silence_rest": silent_share(prompt.rest, level),
            "still": still_share(made.audio, level),
            "still_rest": still_share(prompt.rest, level),
        }

    result = measure_continuations(job, figures_of)
    return result | {"means": result["means"] | _compared(result["means"])}


def _compared(row: dict[str, float | None]) -> dict[str, float | None]:
    def ratio(name: str, to: str) -> float | None:
        return None if row[name] is None or not row[to] else row[name] / row[to]  # type: ignore[operator]

    quality, before = row["dnsmos"], row["dnsmos_prompt"]
    return {
        "dnsmos_below_prompt": None if quality is None or before is None else before - quality,
        "likeness_ratio": ratio("likeness", "likeness_halves"),
        "silence_ratio": ratio("silence", "silence_rest"),
    }
