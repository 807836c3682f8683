"""An engine's process that replays a recording: the real worker, scheduler, and messages, without a model.

Run by ``server.py`` of this folder as the server starts an engine. A step costs next to nothing, so that a measurement
beside it is of the front end.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import deque
from functools import partial
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from whispergpt.engine.audio.audio_file import Samples, read_audio
from whispergpt.engine.config import FRAME_RATE, HOP, SAMPLE_RATE, EngineOptions
from whispergpt.engine.engine import SNAPSHOT_EVERY, Engine
from whispergpt.engine.messages.events import ModelInfo, Ready, SnapshotTaken
from whispergpt.engine.process.commands import Worker
from whispergpt.engine.process.sockets import LinkSockets
from whispergpt.engine.process.worker import alarm, loop
from whispergpt.engine.prompts.desk import Finished, PromptDesk
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import SamplingParams, Snapshot
from whispergpt.engine.streams.capacity import Capacity, StepCost
from whispergpt.engine.streams.scheduler import Scheduler, Stream
from whispergpt.engine.streams.step_report import Frames, StepReport
from whispergpt.load.example import PROMPT

MODEL = "replay"
_SNAPSHOT = Snapshot(bytes(11_000))
"""Snapshot as large as those of ``speech``."""
_APART = 17
"""Frames of the recording between the starts of two slots, so that listeners hear different audio."""


class ReplayEngine:
    """Stands where the worker has an ``Engine``: the real scheduler, and frames of a recording."""

    def __init__(self, slots: int) -> None:
        self.scheduler = Scheduler(slots)
        self._frames = _recording()
        self._starts = np.arange(slots) * _APART

    def info(self) -> ModelInfo:
        """Return the model's description."""
        defaults: dict[str, float | int] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
        slots = self.scheduler.slots
        return ModelInfo(MODEL, 0, SAMPLE_RATE, FRAME_RATE, defaults, "none", MODEL, slots, resumable=True)

    def start(self, stream: Stream) -> None:
        """Queue a stream for a slot."""
        self.scheduler.add(stream)

    def cancel(self, stream: Stream) -> None:
        """End a stream before the next step."""
        self.scheduler.end(stream, "cancelled")

    def change_sampling(self, stream: Stream, sampling: SamplingParams) -> None:
        """Note another sampling, which changes nothing in a recording."""
        stream.sampling = sampling

    def step(self) -> StepReport:
        """Give every stream that is due the next frame of its recording, as ``Engine.step``."""
        report = StepReport(started=self.scheduler.admit())
        report.snapshots += [self._snapshot(stream) for stream in report.started if stream.plan.snapshots]
        slots = self.scheduler.due()
        if not len(slots):
            return report
        columns, places = self.scheduler.columns, self.scheduler.places(slots)
        streams, indices = self.scheduler.streams(slots), columns.next_frame(places)
        samples = self._frames[(self._starts[slots] + indices) % len(self._frames)]
        codes = np.zeros(len(slots), np.int32)
        report.frames = Frames(streams, columns.id[places].copy(), indices, codes, samples)
        due = columns.snapshots[places] & ((indices + 1) % SNAPSHOT_EVERY == 0)
        report.ended = self.scheduler.advance_all(slots)
        report.snapshots += [self._snapshot(stream) for stream in streams[due] if not stream.ended]
        return report

    def _snapshot(self, stream: Stream) -> SnapshotTaken:
        return SnapshotTaken(stream.id, stream.next_frame, stream.sampling, _SNAPSHOT)


class ReplayDesk:
    """Stands where the worker has a ``PromptDesk``: every prompt is ready when it is committed, and not listened to."""

    awaited = False

    def __init__(self) -> None:
        self._engines: dict[int, Engine] = {}
        self._finished: deque[Finished] = deque()

    def __len__(self) -> int:
        return len(self._engines)

    @property
    def prompt_ids(self) -> list[int]:
        """Return the numbers of prompts on their way in."""
        return list(self._engines)

    def open(self, prompt_id: int, engine: Engine, owner: str, behind: bool = False) -> None:
        """Expect a prompt."""
        self._engines[prompt_id] = engine

    def resume(self, prompt_id: int, engine: Engine, snapshot: Snapshot, owner: str = "") -> None:
        """Make a prompt of a snapshot."""
        self._finished.append(Finished(prompt_id, engine, _prompt()))

    def append(self, prompt_id: int, samples: Samples) -> None:
        """Add samples to a prompt, which are dropped."""

    def commit(self, prompt_id: int, decoded: bool = False, patience: float | None = None) -> None:
        """Take a prompt for whole."""
        if engine := self._engines.pop(prompt_id, None):
            self._finished.append(Finished(prompt_id, engine, _prompt(), decoded=decoded))

    def drop(self, prompt_id: int) -> None:
        """Forget a prompt."""
        self._engines.pop(prompt_id, None)

    def give_way(self, to_listeners: bool) -> None:
        """Do nothing: there is no work on prompts."""

    def finished(self) -> list[Finished]:
        """Return every prompt that ended since the last call."""
        ended = list(self._finished)
        self._finished.clear()
        return ended


def _prompt() -> Prompt:
    return Prompt(torch.zeros(1, FRAME_RATE, dtype=torch.int64), torch.zeros(SAMPLE_RATE, dtype=torch.int16), {}, 0, 0)


def _recording() -> npt.NDArray[np.int16]:
    """Return the bundled recording, int16 ``[frames, 320]``."""
    samples = read_audio(PROMPT)
    pcm = np.clip(np.round(samples * 32_768), -32_768, 32_767).astype(np.int16)
    return pcm[: len(pcm) // HOP * HOP].reshape(-1, HOP)


def main() -> int:
    """Serve as the worker does; returns the exit status."""
    _, endpoint, parent, options = sys.argv
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the worker: the server decides when the engine stops
    slots = msgspec.convert(json.loads(options), EngineOptions).max_streams
    sockets, engine = LinkSockets(endpoint), ReplayEngine(slots)
    send, ready = partial(sockets.send, 0), Ready([engine.info()])
    capacity = Capacity({MODEL: StepCost([1], [1e-6])}, max_load=0)
    worker = Worker({MODEL: cast(Engine, engine)}, send, cast(PromptDesk, ReplayDesk()), capacity, 2 * slots)
    send(ready)
    loop(sockets, alarm()[0], worker, ready, int(parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
