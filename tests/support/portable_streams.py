"""A stream in float32, and one continued from another engine's snapshot, also in a process of its own."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from whispergpt.engine.engine import SNAPSHOT_EVERY, Engine
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import SamplingParams, Snapshot, StreamPlan
from whispergpt.engine.streams.scheduler import Stream

SAMPLING = SamplingParams(seed=5, temperature=0.9, top_k=0, top_p=0.95)
FRAMES = 150


@dataclass(frozen=True)
class Played:
    """Codes and samples of a stream, and its snapshots, by their frames."""

    fingerprint: str
    frames: dict[int, tuple[int, npt.NDArray[np.int16]]]
    snapshots: dict[int, Snapshot]


def engine_and_prompt() -> tuple[Engine, Prompt]:
    """Return an engine and a prompt of noise below 7.5 kHz."""
    engine = Engine.load("speech", "cpu", 8, exact=True, dtype="float32")
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(0, 0.1, 24_000))
    spectrum[7_500:] = 0
    return engine, engine.encode_prompt(np.fft.irfft(spectrum).astype(np.float32))


def played(engine: Engine, prompt: Prompt, first: int = 0) -> Played:
    """Play a stream behind ``prompt`` from frame ``first`` on."""
    plan = StreamPlan(SAMPLING, FRAMES - first, first_frame=first, snapshots=True)
    stream, frames, snapshots = Stream(1, prompt, plan, credit=None), {}, {}
    engine.start(stream)
    while not stream.ended:
        report = engine.step()
        frames |= {frame.index: (frame.code, frame.pcm) for frame in report.frames}
        snapshots |= {point.frame: point.snapshot for point in report.snapshots}
    return Played(engine.fingerprint, frames, snapshots)


def continued(engine: Engine, other: Played) -> Played:
    """Play another engine's stream on from its snapshot after a second."""
    return played(engine, engine.resume(other.snapshots[SNAPSHOT_EVERY]).finish(), SNAPSHOT_EVERY)


def main() -> None:
    """Read what another engine played from a file, and write what this one plays, and continues, to another; print the
    name of its kernels."""
    _, theirs, ours = sys.argv
    engine, prompt = engine_and_prompt()
    other = pickle.loads(Path(theirs).read_bytes())
    Path(ours).write_bytes(pickle.dumps((played(engine, prompt), continued(engine, other))))
    assert engine.kernels.weights is not None
    sys.stdout.write(engine.kernels.weights.library.name)


if __name__ == "__main__":
    main()
