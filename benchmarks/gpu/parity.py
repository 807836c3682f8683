"""Parity: the kernels' codes and samples beside the CPU's in float32, and a stream's bits alone and in company."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from whispergpt.benchmarks.bench_desk import BenchDesk, noise
from whispergpt.benchmarks.gpu.options import Options, Tell
from whispergpt.benchmarks.gpu.part import Trials
from whispergpt.benchmarks.preset import prompt_audio
from whispergpt.engine.backends.prompt_path import PromptState
from whispergpt.engine.config import HOP, LIMITS_HZ, NO_LIMIT
from whispergpt.engine.device import for_prompts
from whispergpt.engine.engine import Engine
from whispergpt.engine.low_pass import LowPass
from whispergpt.engine.model.streaming import copy_into
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import SamplingParams

PROMPT_SECONDS = 1.5
PROMPTS = 5
"""Prompts that come at once."""
LIMITED_FRAMES = 20
"""Most frames of the streams whose bandwidth is limited."""

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
    with for_prompts(engine.device):
        copy_into(state, prompt.state)  # waits: the copies come from the host's memory
    return replace(prompt, state=state)


def equal_limited(engine: Engine, prompt: Prompt, frames: int) -> bool:
    """Return whether streams with each limit, and one without, are what the host's filters make of the same streams."""
    limits = [*LIMITS_HZ, NO_LIMIT]
    made = []
    for prompts in ([replace(prompt, limit_hz=limit_hz) for limit_hz in limits], [replace(prompt, limit_hz=NO_LIMIT)]):
        streams = [engine.stream(each, SamplingParams(0, 1.0, 0, 1.0), frames) for each in prompts]
        samples: dict[int, list[npt.NDArray[np.int16]]] = {stream.id: [] for stream in streams}
        while not all(stream.ended for stream in streams):
            for frame in engine.step().frames:
                samples[frame.stream.id].append(frame.pcm)
        made.append([np.concatenate(samples[stream.id]) for stream in streams])
    ours, (whole,) = made
    host, frames_of_whole = LowPass(len(limits)), np.repeat(whole.reshape(1, frames, HOP), len(limits), 0)
    host.begin(range(len(limits)), limits, [prompt.tail] * len(limits))
    for number in range(frames):
        host.apply(range(len(limits)), frames_of_whole[:, number])
    return all(np.array_equal(found, wanted.ravel()) for found, wanted in zip(ours, frames_of_whole, strict=True))


def run(options: Options, tell: Tell) -> None:
    """Compare streams alone and in company in the device's own format, then a prompt and some streams with the CPU's.

    The CPU's come last, because its kernels may have to be compiled.
    """
    trials = Trials(tell)
    with torch.inference_mode():
        own = Engine.load("speech", options.device, options.seeds + options.company)
        prompt = own.encode_prompt(prompt_audio(own.model.step, PROMPT_SECONDS))
        told = {"dtype": own.dtype, "path": own.path.name, "streams": options.seeds + options.company}
        with trials.trial("same_seed"):
            same = equal_in_company(own, prompt, options.seeds, options.company, options.frames)
            tell({"same_seed": {**told, "equal_bits": same}})
        with trials.trial("limited"):
            tell({"limited": {"equal_bits": equal_limited(own, prompt, min(options.frames, LIMITED_FRAMES))}})
        with trials.trial("prompts_together"):
            tell({"prompts_together": {"prompts": PROMPTS, "equal_bits": equal_prompts(own, PROMPTS)}})
        with trials.trial("float32"):
            _compare_with_the_cpu(options, tell)


def _compare_with_the_cpu(options: Options, tell: Tell) -> None:
    """Compare a prompt, and streams behind the same one, in float32."""
    ours = Engine.load("speech", options.device, options.seeds + options.company, dtype="float32")
    tell({"float32_path": ours.path.name})
    reference = Engine.load("speech", "cpu", options.seeds, dtype="float32")
    audio = prompt_audio(ours.model.step, PROMPT_SECONDS)
    prompt, wanted = ours.encode_prompt(audio), reference.encode_prompt(audio)
    tell({"prompt": _prompts_apart(prompt, wanted)})
    seeds = list(range(options.seeds))
    played = play(ours, moved(wanted, ours), seeds, options.frames)
    tell({"streams": _streams_apart(played, play(reference, wanted, seeds, options.frames))})


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
