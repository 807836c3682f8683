"""Parity: the kernels' codes and samples beside the CPU's in float32, and a stream's bits alone and in company."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from whispergpt.benchmarks.bench_desk import BenchDesk, noise
from whispergpt.benchmarks.gpu.options import Options, Tell
from whispergpt.benchmarks.preset import prompt_audio
from whispergpt.engine.backends.prompt_path import PromptState
from whispergpt.engine.config import HOP
from whispergpt.engine.engine import Engine
from whispergpt.engine.messages import SamplingParams
from whispergpt.engine.model.streaming import copy_into
from whispergpt.engine.prompts.prompt import Prompt

PROMPT_SECONDS = 1.5
PROMPTS = 5
"""Prompts that come at once."""

Played = tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]
"""Codes ``[frames]`` and samples ``[frames, 320]`` of a stream."""


def play(engine: Engine, prompt: Prompt, seeds: list[int], frames: int) -> list[Played]:
    """Return what streams with these seeds play, all together; the first ones are greedy or nearly so."""
    made = [engine.stream(prompt, SamplingParams(seed, 0.3 * (seed % 4), 0, 0.95), frames) for seed in seeds]
    places = {stream.id: place for place, stream in enumerate(made)}
    codes = [np.zeros(frames, np.int32) for _ in seeds]
    samples = [np.zeros((frames, HOP), np.int16) for _ in seeds]
    while not all(stream.ended for stream in made):
        for frame in engine.step().frames:
            place = places[frame.stream.id]
            codes[place][frame.index], samples[place][frame.index] = frame.code, frame.pcm
    return list(zip(codes, samples, strict=True))


def equal_in_company(engine: Engine, prompt: Prompt, seeds: int, company: int, frames: int) -> bool:
    """Return whether streams have the same codes and samples alone and beside ``company`` others."""
    together = play(engine, prompt, list(range(seeds + company)), frames)
    chosen = list(range(0, seeds + company, max(1, company // seeds)))[:seeds]
    alone = [play(engine, prompt, [seed], frames)[0] for seed in chosen]
    return all(
        np.array_equal(codes, together[seed][0]) and np.array_equal(samples, together[seed][1])
        for seed, (codes, samples) in zip(chosen, alone, strict=True)
    )


def equal_prompts(engine: Engine, count: int) -> bool:
    """Return whether prompts of several lengths have the same codes and state alone and when they come at once."""
    sounds = [noise(0.5 + 0.2 * number, seed=number) for number in range(count)]
    alone = [engine.encode_prompt(sound) for sound in sounds]
    with closing(BenchDesk(engine)) as desk:
        together = desk.take_in_together(sounds)
    return all(
        torch.equal(one.codes, other.codes) and torch.equal(one.row, other.row)
        for one, other in zip(alone, together, strict=True)
    )


def moved(prompt: Prompt, engine: Engine) -> Prompt:
    """Return a prompt whose state is where and as an engine keeps it."""
    state = PromptState.fresh(engine.model.step, engine.device, engine.path.dtype).stream
    copy_into(state, prompt.state)
    return replace(prompt, state=state)


def run(options: Options, tell: Tell) -> None:
    """Compare one prompt and some streams on both, then streams alone and in company in the device's own format."""
    ours = Engine.load("speech", options.device, options.seeds + options.company, dtype="float32")
    tell({"float32_path": ours.path.name})
    reference = Engine.load("speech", "cpu", options.seeds, dtype="float32")
    audio = prompt_audio(ours.model.step, PROMPT_SECONDS)
    with torch.inference_mode():
        prompt, wanted = ours.encode_prompt(audio), reference.encode_prompt(audio)
        tell({"prompt": _prompts_apart(prompt, wanted)})
        seeds = list(range(options.seeds))
        played = play(ours, moved(wanted, ours), seeds, options.frames)
        tell({"streams": _streams_apart(played, play(reference, wanted, seeds, options.frames))})
        del ours, reference
        own = Engine.load("speech", options.device, options.seeds + options.company)
        told = {"dtype": own.dtype, "path": own.path.name, "streams": options.seeds + options.company}
        same = equal_in_company(own, own.encode_prompt(audio), options.seeds, options.company, options.frames)
        tell({"same_seed": {**told, "equal_bits": same}})
        together = equal_prompts(own, PROMPTS)
    tell({"prompts_together": {"prompts": PROMPTS, "equal_bits": together}})


def _prompts_apart(ours: Prompt, wanted: Prompt) -> dict[str, float]:
    apart = (ours.decoded.int() - wanted.decoded.int()).abs()
    return {
        "frames": ours.frames,
        "equal_codes": float((ours.codes == wanted.codes).float().mean()),
        "largest_difference": int(apart.max()),
        "median_difference": float(apart.float().median()),
    }


def _streams_apart(ours: list[Played], wanted: list[Played]) -> dict[str, float]:
    """Return how far streams are apart; after a coarse code that differs, a stream is another one and counts no more.

    A finer code that differs shows in the samples.
    """
    equal, apart = [], [np.zeros(0, np.int32)]
    for (codes, samples), (right_codes, right_samples) in zip(ours, wanted, strict=True):
        differ = np.flatnonzero(codes != right_codes)
        equal.append(int(differ[0]) if len(differ) else len(codes))
        apart.append(np.abs(samples[: equal[-1]].astype(np.int32) - right_samples[: equal[-1]]).max(1, initial=0))
    largest = np.concatenate(apart)
    return {
        "streams": len(ours),
        "frames": len(ours[0][0]),
        "fewest_equal_frames": min(equal),
        "equal_codes": sum(equal) / sum(len(codes) for codes, _ in ours),
        "largest_difference": int(largest.max(initial=0)),
        "frames_within_4": float((largest <= 4).mean()) if len(largest) else 0.0,
    }
