"""Measure the host's time of a step: all that is done for it beside the model's computation.

``python -m whispergpt.benchmarks.host_step`` plays real-time streams of a tiny model on a simulated clock. Nothing is
computed, and the samples are whatever is in memory. A turn selects the streams, takes their samples, counts frames and
packs the message to the server, as in the engine's process. Readers acknowledge every sixth frame. Times are processor
time of one core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from statistics import median

import numpy as np
import numpy.typing as npt
import torch

from whispergpt.engine.block_pool import BlockPool
from whispergpt.engine.checkpoints.checkpoint import LoadedModel
from whispergpt.engine.config import (
    FRAME_RATE,
    LIMITS_HZ,
    NO_LIMIT,
    CodecConfig,
    FineConfig,
    ModelConfig,
    SamplingDefaults,
    StackConfig,
)
from whispergpt.engine.engine import Engine
from whispergpt.engine.low_pass import LowPass
from whispergpt.engine.messages.commands import Acknowledge, StartStream, pack, unpack_command
from whispergpt.engine.messages.events import Event, StepDone, pack_event, unpack_event
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.engine.process.commands import Worker
from whispergpt.engine.prompts.desk import PromptDesk
from whispergpt.engine.stream_plan import SamplingParams, StreamPlan
from whispergpt.engine.streams.capacity import Capacity, StepCost
from whispergpt.engine.streams.scheduler import Scheduler

STREAMS = (64, 512, 2048, 10_000)
TURNS, WARM = 150, 10
"""Measured turns, of which the median counts, and turns before them."""
READ_FRAMES = 6
"""Frames that a reader takes at once."""
_MODEL = "tiny"
_SECONDS_AHEAD = 3
"""Simulated seconds before the first turn that counts: streams are as far ahead of their listeners as they get."""


class StubPath:
    """Step path that computes nothing, as on a GPU, which filters limited streams and writes to the blocks itself."""

    name, dtype = "stub", torch.float32
    slow_because: str | None = None

    def __init__(self, slots: int, books: int) -> None:
        self._codes = np.random.default_rng(0).integers(0, 1024, (slots, books), np.int32)
        self._blocks, self.low_pass = BlockPool(slots), LowPass(slots)

    def step(
        self, slots: list[int] | npt.NDArray[np.int64], stages: dict[str, float] | None = None
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]:
        return self._codes[slots], self._blocks.take(len(slots))


@dataclass(frozen=True)
class HostStep:
    """Times for a number of streams, in milliseconds of one core.

    Attributes:
        start_ms: first turn, in which all streams get their slots.
        turn_ms: median turn of the engine's process.
        acknowledge_ms: median time of the commands between two turns.
        split_ms: median time in which the server's process unpacks a step's message and splits it by streams.
    """

    streams: int
    snapshots: bool
    limited: bool
    start_ms: float
    turn_ms: float
    acknowledge_ms: float
    split_ms: float


def measure(streams: int, snapshots: bool = False, turns: int = TURNS, limited: bool = False) -> HostStep:
    """Measure turns of ``streams`` streams.

    With ``snapshots``, each is sent one every second; ``limited``: the bandwidth of all is limited.
    """
    engine = _tiny_engine(streams)
    now = [0.0]
    packed: list[list[bytes | memoryview]] = [[]]
    engine.scheduler = Scheduler(streams, lambda: now[0])

    def send(event: Event) -> None:
        parts = pack_event(event)
        if isinstance(event, StepDone):
            packed[0] = parts

    with closing(PromptDesk(cache_bytes=0)) as desk:
        worker = Worker({_MODEL: engine}, send, desk, Capacity({_MODEL: StepCost([1], [1e-6])}, max_load=0))
        prompt = engine.encode_prompt(np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32))
        worker._prompts[1] = (engine, replace(prompt, limit_hz=LIMITS_HZ[0] if limited else NO_LIMIT))
        for number in range(streams):
            sampling = SamplingParams(number, 1.0, 0, 1.0)
            plan = StreamPlan(sampling, None, "realtime", first_frame=number % FRAME_RATE, snapshots=snapshots)
            worker.handle(StartStream(number, 1, plan))
        start = _cpu_seconds(worker.turn)
        steps: list[float] = []
        acknowledgements: list[float] = []
        for turn in range(_SECONDS_AHEAD * FRAME_RATE + WARM + turns):
            told = pack(Acknowledge(dict.fromkeys(range(turn % READ_FRAMES, streams, READ_FRAMES), turn + 1)))
            acknowledgements.append(_cpu_seconds(lambda: worker.handle(unpack_command(told))))  # noqa: B023
            now[0] += 1 / FRAME_RATE
            packed[0] = []
            steps.append(_cpu_seconds(worker.turn))
            assert packed[0], "no stream was due"
        received = [bytes(part) for part in packed[0]]
        splits = [_cpu_seconds(lambda: unpack_event(received).frames) for _ in range(turns)]  # type: ignore[union-attr]
    medians = [1e3 * median(times[-turns:]) for times in (steps, acknowledgements, splits)]
    return HostStep(streams, snapshots, limited, 1e3 * start, *medians)


def _tiny_engine(streams: int) -> Engine:
    """Return an engine of a model whose state is small, with snapshots as large as usual."""
    torch.manual_seed(0)
    codec = CodecConfig(n_filters=2, dimension=8, lstm_layers=1, pad_mode="constant")
    config = ModelConfig(StackConfig(8, 1, 4, 1, 8, 512), code_width=8, fine=FineConfig(8, codec.n_codebooks, 8))
    step = FrameStep(Codec(codec), WhisperGPT(config)).eval().requires_grad_(False)
    model = LoadedModel(_MODEL, step, SamplingDefaults(), "unknown", "00000000")
    engine = Engine(model, torch.device("cpu"), streams)
    engine.path = StubPath(streams, codec.n_codebooks)
    return engine


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m whispergpt.benchmarks.host_step", description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS, help="numbers of streams")
    parser.add_argument("--snapshots", action="store_true", help="send every stream's snapshots")
    parser.add_argument("--limited", action="store_true", help="limit the bandwidth of all streams")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if min(options.streams) < 1:
        parser.error("--streams must be at least 1")
    found = [measure(streams, options.snapshots, limited=options.limited) for streams in options.streams]
    if options.json:
        print(json.dumps([asdict(one) for one in found]))  # noqa: T201
        return
    for one in found:
        print(  # noqa: T201
            f"{one.streams:6} streams: a turn {one.turn_ms:.3f} ms, acknowledgements {one.acknowledge_ms:.3f} ms, "
            f"split by the server {one.split_ms:.3f} ms; start of all {one.start_ms:.1f} ms"
        )


if __name__ == "__main__":
    main()
