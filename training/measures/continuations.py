"""Continuations of many prompts, by the same engine that serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from msgspec.structs import replace
from tqdm import tqdm

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import FRAME_RATE, HOP, SAMPLE_RATE
from whispergpt.engine.engine import Engine
from whispergpt.engine.messages import SamplingParams
from whispergpt.training.measures.prompts import CutPrompt
from whispergpt.training.measures.report import Keeper
from whispergpt.training.measures.round_trip import as_heard


@dataclass(frozen=True)
class Continuation:
    """A prompt ``[n]`` after the codec, and the model's continuation ``[m]``, both at 24 kHz."""

    prompt: Samples
    audio: Samples


def continue_prompts(
    engine: Engine, prompts: Sequence[Samples], seconds: float, sampling: SamplingParams
) -> list[Continuation]:
    """Continue each prompt ``[n]`` at 24 kHz by ``seconds``, in batches of the engine's slots.

    The i-th is drawn with seed ``sampling.seed + i``, so that it does not depend on the others.

    Raises:
        AudioError: a prompt is shorter than 0.5 or longer than 60 seconds.
    """
    frames = ceil(seconds * FRAME_RATE)
    made: list[Continuation] = []
    slots = engine.scheduler.slots
    progress = tqdm(total=len(prompts) * frames, desc="continue", unit="frame", disable=None, leave=False)
    with progress:
        for first in range(0, len(prompts), slots):
            some = [engine.encode_prompt(audio) for audio in prompts[first : first + slots]]
            streams = [
                engine.stream(prompt, replace(sampling, seed=sampling.seed + first + i), frames)
                for i, prompt in enumerate(some)
            ]
            place = {stream.id: i for i, stream in enumerate(streams)}
            pcm = np.zeros((len(streams), frames, HOP), np.int16)
            while not all(stream.ended for stream in streams):
                for frame in engine.step().frames:
                    pcm[place[frame.stream.id], frame.index] = frame.pcm
                    progress.update()
            made += [
                Continuation(as_heard(prompt.decoded.numpy()), as_heard(row.reshape(-1)))
                for prompt, row in zip(some, pcm, strict=True)
            ]
    return made


def keep_continuation(keeper: Keeper, prompt: CutPrompt, made: Continuation, seed: int) -> dict[str, Any]:
    """Keep the audio of a prompt and its continuation, and return the start of their entry in the report."""
    keeper.audio(f"{prompt.file} {prompt.start:g} prompt", prompt.audio)
    keeper.audio(f"{prompt.file} {prompt.start:g} continuation", made.audio)
    return {
        "file": prompt.file,
        "group": prompt.group,
        "start": prompt.start,
        "seed": seed,
        "rest_seconds": len(prompt.rest) / SAMPLE_RATE,
    }
