"""``measure speech``: quality, likeness of voice, and share of silence of continuations of speech."""

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
"""Seconds of the shortest true continuation whose share of silence is measured."""


def measure_speech(
    engine: Engine,
    prompts: list[CutPrompt],
    recordings: Recordings,
    seconds: float,
    sampling: SamplingParams,
    keeper: Keeper,
) -> dict[str, Any]:
    """Continue every prompt and measure the continuations.

    Returns:
        ``files``, one entry a prompt; ``skipped``; ``means``. Among the means, ``dnsmos_below_prompt`` is the prompt's
        score after the codec less the continuation's. ``likeness_ratio`` is the likeness of prompt and continuation
        over that of the prompt's halves. ``silence_ratio`` is relative to the true rest. ``opened_share`` is the
        share of continuations that open the band above 8.2 kHz.

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
    """Return, for each prompt, one of another speaker, drawn with a fixed seed; None without another speaker."""
    draw = np.random.default_rng(seed)
    others = [[other for other in prompts if other.group != prompt.group] for prompt in prompts]
    return [choice[int(draw.integers(len(choice)))] if choice else None for choice in others]
