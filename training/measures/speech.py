"""``measure speech``: continuations of voices, by how they sound, whose voice it is, and how much of it is silence."""

from __future__ import annotations

from typing import Any

import numpy as np

from whispergpt.engine.engine import Engine
from whispergpt.engine.messages import SamplingParams
from whispergpt.training.measures.continuations import continue_prompts, keep_continuation
from whispergpt.training.measures.faults import continuation_faults, with_shares
from whispergpt.training.measures.figures.listening import Dnsmos
from whispergpt.training.measures.figures.silence import recording_level, silent_share
from whispergpt.training.measures.figures.voice import VoiceLikeness
from whispergpt.training.measures.prompts import CutPrompt
from whispergpt.training.measures.recordings import Recordings
from whispergpt.training.measures.report import Keeper, means

LEAST_REST_SECONDS = 2.0
"""Seconds of true continuation that its share of silence needs at least."""


def measure_speech(
    engine: Engine,
    prompts: list[CutPrompt],
    recordings: Recordings,
    seconds: float,
    sampling: SamplingParams,
    keeper: Keeper,
) -> dict[str, Any]:
    """Continue every prompt and measure.

    Returns:
        ``files``, one entry a prompt; ``means`` with ``dnsmos_below_prompt`` (how much lower the continuation is than
        the prompt after the codec), ``likeness_ratio`` (of prompt and continuation, to that of the prompt's halves),
        ``silence_ratio`` (to the true rest's) and ``opened_share`` (of continuations above 8.2 kHz); ``skipped``.

    Raises:
        MissingError: a package is not installed.
    """
    rate, likeness = Dnsmos(), VoiceLikeness()
    made = continue_prompts(engine, [prompt.audio for prompt in prompts], seconds, sampling)
    entries: list[dict[str, Any]] = []
    strangers = _strangers(prompts, sampling.seed)
    for index, (prompt, continuation) in enumerate(zip(prompts, made, strict=True)):
        level = recording_level(np.concatenate([prompt.audio, prompt.rest]))
        half = len(prompt.audio) // 2
        stranger = strangers[index]
        figures: dict[str, float | None] = {
            "dnsmos_original": rate(prompt.audio),
            "dnsmos_prompt": rate(continuation.prompt),
            "dnsmos": rate(continuation.audio),
            "likeness_halves": likeness(prompt.audio[:half], prompt.audio[half:]),
            "likeness": likeness(prompt.audio, continuation.audio),
            "likeness_rest": likeness(prompt.audio, prompt.rest),
            "likeness_stranger": None if stranger is None else likeness(prompt.audio, stranger.rest),
            "silence": silent_share(continuation.audio, level),
            "silence_rest": silent_share(prompt.rest, level),
            **continuation_faults(prompt, continuation),
        }
        entry = keep_continuation(keeper, prompt, continuation, sampling.seed + index)
        entries.append(entry | {"figures": figures})
    row = with_shares(means(entry["figures"] for entry in entries))
    return {"files": entries, "means": row | _compared(row), "skipped": recordings.skipped}


def _compared(row: dict[str, float | None]) -> dict[str, float | None]:
    def ratio(name: str, to: str) -> float | None:
        return None if row[name] is None or not row[to] else row[name] / row[to]  # type: ignore[operator]

    quality, before = row["dnsmos"], row["dnsmos_prompt"]
    return {
        "dnsmos_below_prompt": None if quality is None or before is None else before - quality,
        "likeness_ratio": ratio("likeness", "likeness_halves"),
        "silence_ratio": ratio("silence", "silence_rest"),
    }


def _strangers(prompts: list[CutPrompt], seed: int) -> list[CutPrompt | None]:
    """For each prompt another speaker's, drawn with a fixed seed; None where there is no other speaker."""
    draw = np.random.default_rng(seed)
    others = [[other for other in prompts if other.group != prompt.group] for prompt in prompts]
    return [choice[int(draw.integers(len(choice)))] if choice else None for choice in others]
