"""Compare the step time and the memory of an old stream with those of fresh ones, over an hour of sound.

``python -m whispergpt.benchmarks.soak --minutes 60`` prints a line of JSON for each minute of sound, then the change.
The old stream and a fresh one take turns of a second of sound, so that other load on the machine affects both.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from whispergpt.benchmarks.preset import build_preset, prompt_audio
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.device import DeviceError, pick_device
from whispergpt.engine.engine import Engine
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import SamplingParams
from whispergpt.engine.streams.scheduler import Stream

TURN_FRAMES = FRAME_RATE
TURNS = 60
"""Turns of the old stream per minute of its sound."""
_SAMPLING = SamplingParams(seed=1, temperature=1.0, top_k=0, top_p=1.0)


@dataclass(frozen=True)
class Minute:
    """Measurements over one minute of the old stream's sound.

    Attributes:
        old_ms: median step time of the old stream.
        fresh_ms: median step time of a fresh stream.
        ratio: ``old_ms`` over ``fresh_ms``.
        resident_mb: resident memory of the process in MiB.
    """

    minute: int
    old_ms: float
    fresh_ms: float
    ratio: float
    resident_mb: float


def soak(engine: Engine, minutes: int, turns: int = TURNS) -> Iterator[Minute]:
    """Generate ``minutes`` of one stream, with ``turns`` turns a minute, and yield the measurements of each."""
    prompt = engine.encode_prompt(prompt_audio(engine.model.step))  # longer than the window, so every ring is full
    old = _start(engine, prompt)
    for minute in range(1, minutes + 1):
        fresh = _start(engine, prompt)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(turns):
            for stream, other, taken in ((old, fresh, times[0]), (fresh, old, times[1])):
                _hold(other, True)
                _hold(stream, False)
                taken += [_step(engine, stream) for _ in range(TURN_FRAMES)]
        engine.cancel(fresh)
        old_ms, fresh_ms = (1e3 * median(taken) for taken in times)
        yield Minute(minute, old_ms, fresh_ms, old_ms / fresh_ms, _resident_mb())
    engine.cancel(old)


def _start(engine: Engine, prompt: Prompt) -> Stream:
    return engine.stream(prompt, _SAMPLING, frames=None)


def _hold(stream: Stream, held: bool) -> None:
    """Set a stream's credit: without credit it is not stepped."""
    stream.credit, stream.acknowledged = (0 if held else None), stream.generated


def _step(engine: Engine, stream: Stream) -> float:
    began = time.perf_counter()
    frames = engine.step().frames
    taken = time.perf_counter() - began
    assert [frame.stream for frame in frames] == [stream]
    return taken


def _resident_mb() -> float:
    """Return the process's resident memory in MiB; without ``/proc``, its peak."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m whispergpt.benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60, help="minutes of sound to generate")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    if options.minutes < 1:
        parser.error("--minutes must be at least 1")
    try:
        device = pick_device(options.device)
    except DeviceError as error:
        parser.error(str(error))
    engine = Engine(build_preset("default", device), device)
    lines = []
    for minute in soak(engine, options.minutes):
        lines.append(minute)
        print(json.dumps(asdict(minute)), flush=True)  # noqa: T201
    first, last = lines[0], lines[-1]
    change = {"step_ratio_change": last.ratio / first.ratio - 1, "grown_mb": last.resident_mb - first.resident_mb}
    print(json.dumps(change))  # noqa: T201


if __name__ == "__main__":
    main()
