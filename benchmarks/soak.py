"""Does a stream get slower or larger with age? An hour of sound, made as fast as it goes, beside young streams.

``python -m whispergpt.benchmarks.soak --minutes 60`` prints a line a minute of sound, as JSON, and at last the change.
In each minute the old stream and a fresh one take turns, a second of sound each, so that what the machine does
meanwhile meets both.
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
from whispergpt.engine.engine import Engine, pick_device
from whispergpt.engine.messages import SamplingParams
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.streams.scheduler import Stream

TURN_FRAMES = FRAME_RATE
TURNS = 60
"""Turns of the old stream in a minute of its sound."""
_SAMPLING = SamplingParams(seed=1, temperature=1.0, top_k=0, top_p=1.0)


@dataclass(frozen=True)
class Minute:
    """One minute of the old stream's sound. ``ratio``: its median step over the fresh one's; ``resident_mb`` of the
    whole process."""

    minute: int
    old_ms: float
    fresh_ms: float
    ratio: float
    resident_mb: float


def soak(engine: Engine, minutes: int, turns: int = TURNS) -> Iterator[Minute]:
    """Make so many minutes of one stream, a minute having so many turns."""
    prompt = engine.encode_prompt(prompt_audio(engine.model.step))  # longer than the window: every ring is full
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
    """A stream without credit is not stepped."""
    stream.credit, stream.acknowledged = (0 if held else None), stream.generated


def _step(engine: Engine, stream: Stream) -> float:
    began = time.perf_counter()
    frames = engine.step().frames
    taken = time.perf_counter() - began
    assert [frame.stream for frame in frames] == [stream]
    return taken


def _resident_mb() -> float:
    """Of this process, now; where the system does not say, the most there ever was."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m whispergpt.benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60, help="of sound")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    if options.minutes < 1:
        parser.error("--minutes must be at least 1")
    device = pick_device(options.device)
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
