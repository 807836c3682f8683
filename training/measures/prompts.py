"""Prompts cut from recordings, each with the true rest, for comparison with its continuation."""

from __future__ import annotations

from dataclasses import dataclass

from whispergpt.engine.audio.audio_file import MAX_PROMPT_SECONDS, MIN_PROMPT_SECONDS, Samples
from whispergpt.engine.config import HOP, SAMPLE_RATE
from whispergpt.training.data.recordings import Recordings


@dataclass(frozen=True)
class CutPrompt:
    """The beginning ``[n]`` and the true rest ``[m]`` of a stretch of a recording, at 24 kHz; ``start`` in seconds."""

    file: str
    group: str
    start: float
    audio: Samples
    rest: Samples


def cut_prompts(
    recordings: Recordings, count: int, prompt_seconds: float, rest_seconds: float, least_rest_seconds: float
) -> list[CutPrompt]:
    """Return up to ``count`` prompts: one from the start of each recording, then one from the end of that, and so on.

    No two prompts share a sample, but a rest may overlap another prompt. A rest is ``rest_seconds`` long, or
    shorter at a recording's end, but not shorter than ``least_rest_seconds``.

    Raises:
        ValueError: a prompt's length is out of bounds, or no recording is long enough.
    """
    if not MIN_PROMPT_SECONDS <= prompt_seconds <= MAX_PROMPT_SECONDS:
        raise ValueError(
            f"Prompts must have {MIN_PROMPT_SECONDS:g} to {MAX_PROMPT_SECONDS:g} s, not {prompt_seconds:g}."
        )
    length, rest = (round(seconds * SAMPLE_RATE) // HOP * HOP for seconds in (prompt_seconds, rest_seconds))
    least = round(least_rest_seconds * SAMPLE_RATE)
    found: list[CutPrompt] = []
    round_of_cuts, more = 0, True
    while more and len(found) < count:
        more = False
        needed = (round_of_cuts + 1) * length + least
        for recording, samples in recordings.read(needed / SAMPLE_RATE, "prompts", again=round_of_cuts > 0):
            start = round_of_cuts * length
            prompt, after = samples[start : start + length], samples[start + length : start + length + rest]
            found.append(CutPrompt(recording.name, recording.group, start / SAMPLE_RATE, prompt.copy(), after.copy()))
            more = True
            if len(found) == count:
                break
        round_of_cuts += 1
    if not found:
        raise ValueError(f"No recording has {needed / SAMPLE_RATE:.2f} s, which a prompt and its true rest need.")
    return found
