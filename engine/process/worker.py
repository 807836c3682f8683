"""The engine in its own process: commands in, one report per step out, over a ZeroMQ socket.

Run as ``python -m whispergpt.engine.process.worker ENDPOINT PARENT OPTIONS``: the ZeroMQ address to connect to, the
pid of the process that starts this one, and ``EngineOptions`` as JSON. The loop does, in turn: commands, one frame step
of each model, prompts that the desk has finished. It sleeps only when nothing is due, and exits when its parent is
gone.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial

import msgspec
import numpy as np

from whispergpt.engine import messages as m
from whispergpt.engine.checkpoints.checkpoint import ModelError
from whispergpt.engine.config import EngineOptions
from whispergpt.engine.device import DeviceError, loss_of_device
from whispergpt.engine.engine import Engine
from whispergpt.engine.process.links import Links
from whispergpt.engine.process.sockets import LinkSockets
from whispergpt.engine.prompts.desk import UNUSABLE, Finished, PromptDesk
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.prompts.resume import ResumeError
from whispergpt.engine.streams.capacity import Capacity
from whispergpt.engine.streams.scheduler import Stream
from whispergpt.engine.streams.step_report import StepReport

MAX_PROMPTS = 512
"""Prompts held at once, or twice as many as there are slots, if that is more; each is about two megabytes."""
SWITCH_SECONDS = 0.0005
"""Seconds after which a thread gives Python's lock to one that waits: a prompt must not hold up the step."""
IDLE_SECONDS = 1.0
"""Longest sleep in seconds, after which the worker looks whether its parent lives."""
BEAT_SECONDS = 0.5
"""Longest time in seconds between two messages to the server."""
DEVICE_LOST = 3
"""Exit status of a worker whose device fails from now on: the server starts another."""


class Worker:
    """Engines by model name, and the prompts and streams that the server knows by number.

    Args:
        engines: by the names that commands use.
        send: takes each event for link 0, which is always open.
        desk: where prompts are encoded.
        capacity: of the machine; it learns from every step.
        most_prompts: prompts held at once.
    """

    def __init__(
        self,
        engines: dict[str, Engine],
        send: Callable[[m.Event], None],
        desk: PromptDesk,
        capacity: Capacity,
        most_prompts: int = MAX_PROMPTS,
    ) -> None:
        self._most_prompts = most_prompts
        self.engines, self._desk, self._capacity = engines, desk, capacity
        self.links = Links(send)
        self._send = self.links.send
        self._prompts: dict[int, tuple[Engine, Prompt]] = {}
        self._streams: dict[int, tuple[Engine, Stream]] = {}
        self._load: dict[str, tuple[int, int, int]] = {}
        self._told: dict[str, float] = {}
        self.draining = False

    @property
    def finished(self) -> bool:
        """Return whether a draining worker has nothing left to play."""
        return self.draining and not self._streams

    def close_link(self, link: int) -> None:
        """Forget a link's prompts and streams, and say nothing more there."""
        self.links.close(link)
        for stream_id in [one for one in self._streams if m.link_of(one) == link]:
            self._cancel_stream(stream_id)
        for prompt_id in [one for one in {*self._prompts, *self._desk.prompt_ids} if m.link_of(one) == link]:
            self._drop_prompt(prompt_id)

    def handle(self, command: m.Command) -> None:
        """Carry out one command; unknown prompts and streams are ignored, an error ends its prompt or stream alone.

        Raises:
            RuntimeError: the device is lost.
        """
        try:
            self._carry_out(command)
        except Exception as error:
            if loss_of_device(error):
                raise
            traceback.print_exc()
            self._give_up(command)

    def _give_up(self, command: m.Command) -> None:
        match command:
            case m.Drain() | m.OpenLink() | m.CloseLink():
                raise RuntimeError("the engine cannot drain or change its links")
            case m.StartStream() | m.CancelStream() | m.ChangeSampling() | m.HoldStream():
                self._end_failed(command.stream_id)
            case m.Acknowledge():
                for stream_id in command.frames:
                    self._end_failed(stream_id)
            case _:
                self._desk.drop(command.prompt_id)
                self._send(m.PromptFailed(command.prompt_id, "internal", UNUSABLE))

    def _end_failed(self, stream_id: int) -> None:
        if known := self._streams.pop(stream_id, None):
            engine, stream = known
            engine.scheduler.end(stream, "failed")
        self._send(m.StreamEnded(stream_id, "failed", known[1].generated if known else 0))

    def _carry_out(self, command: m.Command) -> None:
        match command:
            case m.OpenPrompt():
                self._open_prompt(command)
            case m.AppendPrompt():
                self._desk.append(command.prompt_id, np.frombuffer(command.samples, np.float32))
            case m.CommitPrompt():
                self._desk.commit(command.prompt_id, command.decoded, command.patience)
            case m.ResumePrompt():
                self._resume_prompt(command)
            case m.DropPrompt():
                self._drop_prompt(command.prompt_id)
            case m.StartStream():
                self._start_stream(command)
            case m.CancelStream():
                self._cancel_stream(command.stream_id)
            case m.Acknowledge():
                self._acknowledge(command.frames)
            case m.ChangeSampling() | m.HoldStream():
                if command.stream_id in self._streams:
                    self._control(*self._streams[command.stream_id], command)
            case m.Drain():
                self.draining = True
            case m.OpenLink() | m.CloseLink():
                raise ValueError("links are the loop's")

    def turn(self) -> float | None:
        """Do one frame step of every model, and send the prompts that the desk has finished.

        Returns:
            Seconds until there is more to do, None if nothing will be without a command or a finished prompt.

        Raises:
            RuntimeError: prompts cannot be encoded any more.
        """
        playing = {name: engine.scheduler.listened for name, engine in self.engines.items()}
        awaited = self._desk.awaited
        for name, engine in self.engines.items():
            engine.scheduler.most_listened = self._capacity.most(name, playing, engine.scheduler.slots)
            engine.scheduler.prompts_wait = awaited
            began = time.perf_counter()
            report = engine.step()
            self._report(name, engine, report)
            if report.frames:
                self._capacity.observe(name, len(report.frames), time.perf_counter() - began)
            playing[name] = engine.scheduler.listened
        for finished in self._desk.finished():
            self._finish_prompt(finished)
        due = [d for d in (e.scheduler.next_due() for e in self.engines.values()) if d is not None]
        return min(due, default=None)

    def _open_prompt(self, command: m.OpenPrompt) -> None:
        if engine := self._engine_for_prompt(command):
            self._desk.open(command.prompt_id, engine, command.owner, command.behind)

    def _resume_prompt(self, command: m.ResumePrompt) -> None:
        if engine := self._engine_for_prompt(command):
            try:
                self._desk.resume(command.prompt_id, engine, command.snapshot, command.owner)
            except ResumeError as error:
                self._send(m.PromptFailed(command.prompt_id, "bad_token", str(error)))

    def _engine_for_prompt(self, command: m.OpenPrompt | m.ResumePrompt) -> Engine | None:
        """Return the engine of a new prompt's model; None where the prompt was refused."""
        if command.model not in self.engines:
            self._send(m.PromptFailed(command.prompt_id, "unknown_model", f"There is no model {command.model!r}."))
        elif len(self._desk) + len(self._prompts) >= self._most_prompts:
            self._send(m.PromptFailed(command.prompt_id, "no_capacity", "Too many prompts are being held; try later."))
        else:
            return self.engines[command.model]
        return None

    def _drop_prompt(self, prompt_id: int) -> None:
        self._desk.drop(prompt_id)
        self._prompts.pop(prompt_id, None)

    def _finish_prompt(self, finished: Finished) -> None:
        prompt = finished.outcome
        if not isinstance(prompt, Prompt):
            self._send(m.PromptFailed(finished.prompt_id, prompt.code, str(prompt)))
            return
        self._prompts[finished.prompt_id] = (finished.engine, prompt)
        self._send(
            m.PromptReady(
                finished.prompt_id,
                prompt.frames,
                0.0 if finished.known else prompt.encode_seconds,
                0.0 if finished.known else prompt.prefill_seconds,
                prompt.decoded.numpy().astype("<i2").tobytes() if finished.decoded else b"",
                finished.known,
            )
        )

    def _start_stream(self, command: m.StartStream) -> None:
        if command.prompt_id not in self._prompts:
            self._send(m.StreamEnded(command.stream_id, "failed", 0))
            return
        engine, prompt = self._prompts[command.prompt_id]
        stream = Stream(command.stream_id, prompt, command.plan)
        self._streams[command.stream_id] = (engine, stream)
        engine.start(stream)

    def _cancel_stream(self, stream_id: int) -> None:
        if stream_id not in self._streams:
            return
        engine, stream = self._streams.pop(stream_id)
        engine.cancel(stream)
        self._send(m.StreamEnded(stream_id, "cancelled", stream.generated))

    def _acknowledge(self, frames: dict[int, int]) -> None:
        for engine in self.engines.values():
            engine.scheduler.acknowledge(frames)

    def _control(self, engine: Engine, stream: Stream, command: m.ChangeSampling | m.HoldStream) -> None:
        match command:
            case m.ChangeSampling():
                engine.change_sampling(stream, command.sampling)
                self._send(m.SamplingChanged(stream.id, stream.next_frame))
            case m.HoldStream():
                engine.scheduler.hold(stream, command.held)

    def _report(self, name: str, engine: Engine, report: StepReport) -> None:
        now = time.monotonic()
        for stream in report.started:
            self._send(m.StreamStarted(stream.id, now - stream.queued_at))
        if report.frames:
            self.links.send_step(name, report)
        for snapshot in report.snapshots:
            self._send(snapshot)
        for stream in report.failed:
            self._streams.pop(stream.id, None)
            self._send(m.StreamEnded(stream.id, "failed", stream.generated))
        for stream in report.ended:
            self._streams.pop(stream.id, None)
            self._send(m.StreamEnded(stream.id, "completed", stream.generated))
        load = (engine.scheduler.active, engine.scheduler.waiting, engine.scheduler.most_listened)
        if self._load.get(name) != load or now > self._told.get(name, 0.0) + BEAT_SECONDS:
            self._load[name], self._told[name] = load, now
            self._send(m.Load(name, *load))


def serve(endpoint: str, parent: int, options: EngineOptions) -> int:
    """Load the models, say ``Ready``, and work until drained or without ``parent``; returns the exit status."""
    sockets = LinkSockets(endpoint)
    send = partial(sockets.send, 0)
    try:
        engines: dict[str, Engine] = {}
        for name in options.models:
            engine = Engine.load(
                name, options.device, options.max_streams, options.exact, options.dtype, options.sharing
            )
            engine.warm_up()
            if engine.model.id in engines:
                raise ModelError(f"The model {engine.model.id!r} is given twice.")
            engines[engine.model.id] = engine
    except (ModelError, DeviceError) as error:
        send(m.LoadFailed(str(error)))
        return 2
    capacity = Capacity({name: engine.step_cost() for name, engine in engines.items()}, options.max_load)
    # Objects that live as long as the process need not be collected: looking through them takes 80 ms.
    gc.collect()
    gc.freeze()
    ready = m.Ready([engine.info() for engine in engines.values()])
    send(ready)
    sys.setswitchinterval(SWITCH_SECONDS)
    wake, waker = alarm()
    desk = PromptDesk(options.prompt_cache_bytes, waker)
    try:
        most_prompts = max(MAX_PROMPTS, 2 * options.max_streams)
        loop(sockets, wake, Worker(engines, send, desk, capacity, most_prompts), ready, parent)
    except Exception as error:
        if (told := loss_of_device(error)) is None:
            raise
        sys.stderr.write(f"{told}\n")
        return DEVICE_LOST
    desk.close()
    return 0


def alarm() -> tuple[int, Callable[[], None]]:
    """Return a descriptor, and a function that makes it readable from any thread."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)

    def ring() -> None:
        with contextlib.suppress(BlockingIOError):  # full: it rings already
            os.write(writer, b".")

    return reader, ring


def loop(sockets: LinkSockets, wake: int, worker: Worker, ready: m.Ready, parent: int) -> None:
    """Work until drained or without ``parent``; ``wake`` is the descriptor of an alarm that ends a sleep."""
    sockets.watch(wake)
    wait: float | None = 0.0
    while not worker.finished and os.getppid() == parent:
        if wake in sockets.wait(IDLE_SECONDS if wait is None else min(wait, IDLE_SECONDS)):
            os.read(wake, 4096)
        for command in sockets.commands():
            if isinstance(command, m.OpenLink):
                sockets.open(command.link, command.endpoint)
                sockets.send(command.link, ready)
                worker.links.open(command.link, partial(sockets.send, command.link))
            elif isinstance(command, m.CloseLink):
                worker.close_link(command.link)
                sockets.close(command.link)
            else:
                worker.handle(command)
        wait = worker.turn()
        for lost in list(worker.links.lost):
            worker.close_link(lost)
            sockets.close(lost)
            sockets.send(0, m.LinkLost(lost))


def main() -> int:
    """Read the command line that the server starts and serve; returns the exit status."""
    _, endpoint, parent, options = sys.argv
    # The terminal's Ctrl-C reaches the whole group: the server decides when the engine stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return serve(endpoint, int(parent), msgspec.convert(json.loads(options), EngineOptions))


if __name__ == "__main__":
    sys.exit(main())
