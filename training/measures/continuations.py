"""Continuations of many prompts, by the same engine that serves, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from msgspec.structs import replace
from tqdm import tqdm

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.batch import Job as BatchJob
from whispergpt.engine.batch import generate_all
from whispergpt.engine.checkpoints.checkpoint import ModelError
from whispergpt.engine.config import FRAME_RATE, SAMPLE_RATE
from whispergpt.engine.engine import Engine
from whispergpt.engine.stream_plan import SamplingParams
from whispergpt.training.measures.faults import fault_figures, with_shares
from whispergpt.training.measures.prompts import CutPrompt
from whispergpt.training.measures.report import Figures, Keeper, means
from whispergpt.training.measures.round_trip import as_heard


@dataclass(frozen=True)
class Job:
    """Prompts to continue by ``seconds`` each: with what, and where the audio is kept."""

    engine: Engine
    prompts: list[CutPrompt]
    seconds: float
    sampling: SamplingParams
    keeper: Keeper


@dataclass(frozen=True)
class Continuation:
    """A prompt ``[n]`` after the codec, and the model's continuation ``[m]``, both at 24 kHz."""

    prompt: Samples
    audio: Samples


FiguresOf = Callable[[int, CutPrompt, Continuation], Figures]
"""Function that measures a continuation, given its number and its prompt."""


def continue_prompts(job: Job) -> list[Continuation]:
    """Continue each prompt, in batches of the engine's slots.

    The i-th is drawn with seed ``sampling.seed + i``, so that it does not depend on the others.

    Raises:
        AudioError: a prompt is shorter than 0.5 or longer than 60 seconds.
        ModelError: the model's numbers are no longer finite.
    """
    frames = ceil(job.seconds * FRAME_RATE)
    made: dict[int, Continuation] = {}
    decoded: dict[int, Samples] = {}

    def jobs() -> Iterator[BatchJob[int]]:
        for i, prompt in enumerate(job.prompts):
            encoded = job.engine.encode_prompt(prompt.audio)
            decoded[i] = as_heard(encoded.decoded.numpy())
            yield BatchJob(i, encoded, replace(job.sampling, seed=job.sampling.seed + i), frames)

    total = len(job.prompts) * frames
    with tqdm(total=total, desc="continue", unit="frame", disable=None, leave=False) as progress:
        for take in generate_all(job.engine, jobs(), progress.update):
            if not take.finite:
                raise ModelError(f"The model {job.engine.model.id!r} computes numbers that are not finite.")
            made[take.key] = Continuation(decoded.pop(take.key), as_heard(take.pcm.reshape(-1)))
    return [made[i] for i in range(len(job.prompts))]


def measure_continuations(job: Job, figures_of: FiguresOf) -> dict[str, Any]:
    """Continue every prompt and return ``files``, an entry with figures for each, and ``means`` of the figures.

    The figures are those of ``figures_of`` and the faults, which ``opened_share`` among the means counts: the share of
    continuations that open the band above 8.2 kHz. Prompts and continuations are kept.
    """
    entries: list[dict[str, Any]] = []
    continued = list(zip(job.prompts, continue_prompts(job), strict=True))
    for index, (prompt, made) in enumerate(tqdm(continued, "measure", unit="file", disable=None, leave=False)):
        name = f"{prompt.file} {prompt.start:g}"
        job.keeper.audio(f"{name} prompt", prompt.audio)
        job.keeper.audio(f"{name} continuation", made.audio)
        entry = {"file": prompt.file, "group": prompt.group, "start": prompt.start, "seed": job.sampling.seed + index}
        figures = {**figures_of(index, prompt, made), **continuation_faults(prompt, made)}
        entries.append(entry | {"rest_seconds": len(prompt.rest) / SAMPLE_RATE, "figures": figures})
    return {"files": entries, "means": with_shares(means(entry["figures"] for entry in entries))}


def continuation_faults(prompt: CutPrompt, made: Continuation) -> dict[str, float | None]:
    """Return the faults of a continuation, and of up to three sounds to compare with, which show the faults' origin.

    Names end in ``_prompt`` for the prompt after the codec and in ``_original`` for the prompt itself. If the prompt
    has a true rest, its figures end in ``_rest``.
    """
    figures = fault_figures(made.audio, prompt.audio)
    compared = {"prompt": fault_figures(made.prompt, prompt.audio), "original": fault_figures(prompt.audio)}
    if len(prompt.rest):
        compared["rest"] = fault_figures(prompt.rest, prompt.audio)
    for ending, others in compared.items():
        figures |= {f"{name}_{ending}": value for name, value in others.items()}
    return figures


def draw_others(prompts: list[CutPrompt], seed: int) -> list[CutPrompt | None]:
    """Return, for each prompt, one of another group, drawn with a fixed seed; None without another group."""
    draw = np.random.default_rng(seed)
    others = [[other for other in prompts if other.group != prompt.group] for prompt in prompts]
    return [choice[int(draw.integers(len(choice)))] if choice else None for choice in others]
