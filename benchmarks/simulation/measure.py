"""Measure the costs of a machine for the simulation, which takes a minute on an otherwise idle machine.

``python -m whispergpt.benchmarks.simulation.measure --name NAME -o FILE`` writes them.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import mean, median

import msgspec
import numpy as np
import torch

from whispergpt.benchmarks.attacks.tools.crowds import crowd
from whispergpt.benchmarks.attacks.tools.processes import processor_seconds
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.benchmarks.bench_desk import BenchDesk, noise
from whispergpt.benchmarks.ours import OurRunner
from whispergpt.benchmarks.simulation.profile import MEASURED, Curve, Profile
from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.backends.processors import usable_processors
from whispergpt.engine.checkpoints.checkpoint import load_model
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.engine import Engine
from whispergpt.engine.messages.events import Event, PromptReady, SnapshotTaken, pack_event
from whispergpt.engine.model.streaming import state_bytes
from whispergpt.engine.process.commands import Worker
from whispergpt.engine.process.links import Links
from whispergpt.engine.prompts.desk import PromptDesk
from whispergpt.engine.prompts.resume import frames_in_snapshot
from whispergpt.engine.stream_plan import SamplingParams, Snapshot, StreamPlan
from whispergpt.engine.streams.capacity import Capacity
from whispergpt.engine.streams.scheduler import Stream
from whispergpt.load.plan import Mix, steady
from whispergpt.server.tokens.resume_tokens import ResumeTokens

MODEL = "speech"
COMMAND = "python -m whispergpt.benchmarks.simulation.measure"
TURNS, WARM = 60, 3
"""Measured and warm-up turns for each number of streams; the median counts."""
SPREAD_STREAMS, SPREAD_TURNS, QUANTILES = 16, 1000, 41
SHORT_SECONDS, LONG_SECONDS, PROMPTS = 1.0, 5.0, 15
RECALLED_SECONDS, RECALLS = 20.0, 7
BESIDE_SECONDS = 8.0
LISTENERS, LISTENING_SECONDS = 16, 20.0
_OPEN = {"WHISPERGPT_PROMPT_CACHE_BYTES": "0", "WHISPERGPT_MAX_LOAD": "0"}


class _Turns:
    """The worker's loop; its messages are packed and discarded.

    Attributes:
        prompts: number of prompts that have become ready.
    """

    def __init__(self, runner: OurRunner, desk: PromptDesk) -> None:
        self._runner, self.prompts = runner, 0
        model = runner.engine.model.id
        capacity = Capacity({model: runner.engine.step_cost()}, max_load=0)
        self._worker = Worker({model: runner.engine}, self._send, desk, capacity)

    def _send(self, event: Event) -> None:
        pack_event(event)
        self.prompts += isinstance(event, PromptReady)

    def seconds(self) -> float:
        """Take one turn and return its seconds."""
        began = time.perf_counter()
        self._worker.turn()
        return time.perf_counter() - began

    def taken(self, streams: int, turns: int, paced: bool = True) -> list[float]:
        """Return the seconds of each turn with ``streams`` streams.

        ``paced`` turns begin a frame apart, with cold caches and processors as in a server; others follow at once.
        """
        self._runner.prepare(streams)
        taken: list[float] = []
        for _ in range(turns + WARM):
            taken.append(self.seconds())
            if paced:
                time.sleep(max(0.0, 1 / FRAME_RATE - taken[-1]))
        return taken[WARM:]


def _seconds_to_take_in(desk: BenchDesk, prompt: Samples | Snapshot) -> float:
    began = time.perf_counter()
    desk.take_in(prompt)
    return time.perf_counter() - began


def _snapshot(engine: Engine) -> SnapshotTaken:
    """Return a snapshot of a stream with as much history as a token can hold."""
    prompt = engine.encode_prompt(noise(RECALLED_SECONDS, 0))
    stream = Stream(1, prompt, StreamPlan(SamplingParams(0, 1.0, 0, 1.0), None, snapshots=True), credit=None)
    engine.start(stream)
    said: list[SnapshotTaken] = []
    while len(said) < 2:  # the first is at the stream's beginning
        said += engine.step().snapshots
    engine.cancel(stream)
    return said[-1]


async def _serve_some(served: ServerProcess) -> tuple[float, float, float]:
    visits = steady(Mix(), LISTENERS, LISTENING_SECONDS, seed=0)
    listeners = crowd(served.url, visits)
    server, own = processor_seconds(served.pid), time.process_time()
    await listeners.run()
    summary = listeners.summary()
    if summary.listeners.get("completed") != LISTENERS:
        raise RuntimeError(f"not all listeners heard all: {summary.listeners}")
    return processor_seconds(served.pid) - server, time.process_time() - own, summary.audio_seconds


def _server() -> tuple[float, float, float]:
    """Return the seconds of a start, and the server's and the generator's share of all cores for each listener."""
    began = time.perf_counter()
    with ServerProcess("--model", MODEL, environment=_OPEN) as served:
        start = time.perf_counter() - began
        server, own, heard = asyncio.run(_serve_some(served))
    cores = usable_processors()
    return start, server / heard / cores, own / heard / cores


def measure(name: str) -> Profile:
    """Measure this machine and return its profile."""
    device = torch.device("cpu")
    runner = OurRunner(load_model(MODEL, device), device)
    runner.prepare(64)  # the server's default number of slots
    engine = runner.engine
    runner.prepare(0)
    step = engine.step_cost(partial(Links(pack_event).send_step, MODEL))
    with closing(BenchDesk(engine)) as prompts:
        turns = _Turns(runner, prompts.desk)
        turn = [median(turns.taken(streams, TURNS)) for streams in step.streams]
        taken = turns.taken(SPREAD_STREAMS, SPREAD_TURNS)
        spread = np.quantile(np.array(taken) / median(taken), np.linspace(0, 1, QUANTILES))
        runner.prepare(0)
        short, long = (
            median(_seconds_to_take_in(prompts, noise(seconds, seed)) for seed in range(PROMPTS))
            for seconds in (SHORT_SECONDS, LONG_SECONDS)
        )
        snapshot = _snapshot(engine)
        recall = median(_seconds_to_take_in(prompts, snapshot.snapshot) for _ in range(RECALLS))
        alone = turns.taken(SPREAD_STREAMS, TURNS, paced=False)
        runner.prepare(SPREAD_STREAMS)
        beside, began = [], time.perf_counter()
        while (passed := time.perf_counter() - began) < BESIDE_SECONDS:
            prompts.keep_coming(LONG_SECONDS)
            beside.append(turns.seconds())
    start_seconds, listener_share, generator_share = _server()
    rate = (long - short) / (LONG_SECONDS - SHORT_SECONDS)
    token = ResumeTokens(None).seal(snapshot, engine.info(), frames=None)
    slot = state_bytes(engine.model.step.init_state(1, device, engine.path.dtype))
    return Profile(
        machine=name,
        model=MODEL,
        command=COMMAND,
        date=time.strftime("%Y-%m-%d"),
        cores=usable_processors(),
        step=Curve(step.streams, step.seconds),
        turn=Curve(step.streams, turn),
        spread=[round(float(one), 3) for one in spread],
        prompt_least=max(0.0, short - rate * SHORT_SECONDS),
        prompt_rate=rate,
        recall_frames=frames_in_snapshot(engine.model.step.model.config),
        recall_seconds=recall,
        prompts_slow=mean(beside) / mean(alone),
        prompts_share=turns.prompts * long / passed,
        listener_share=listener_share,
        generator_share=generator_share,
        start_seconds=start_seconds,
        slot_bytes=slot,
        token_bytes=len(token),
    )


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--name", required=True, help="a name for this machine")
    parser.add_argument("-o", "--output", type=Path, default=MEASURED)
    options = parser.parse_args()
    profile = measure(options.name)
    options.output.write_bytes(msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
