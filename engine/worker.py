"""The engine in its own process: commands in, one report per step out, over a ZeroMQ socket.

Run as ``python -m engine.worker ENDPOINT --model speech``. The loop does, in turn: commands, one frame step of
each model, one chunk of prompt work. It sleeps only when nothing is due, and exits when its parent is gone.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable

import numpy as np
import zmq

from engine import messages as m
from engine.audio_file import AudioError
from engine.checkpoint import ModelError
from engine.engine import DeviceError, Engine, StepReport
from engine.prompt import Prompt, PromptEncoder
from engine.scheduler import Stream

MAX_PROMPTS = 512
"""Prompts held at once; each is about two megabytes."""
SAFE_LEAD_SECONDS = 0.5
"""While a listener has less sound than this ahead, frames come before prompts …"""
PROMPT_PATIENCE_SECONDS = 0.25
"""… but for one chunk of prompt work in this time, so that prompts are never starved."""
FRAMES_BETWEEN_STEPS = 4
"""While anyone listens a chunk of prompt work is no longer than this, where its size is free: some 4 milliseconds."""
IDLE_SECONDS = 1.0
"""Longest sleep, after which the parent is looked for."""
QUEUED_MESSAGES = 4096


class Worker:
    """Engines by model name, and the prompts and streams that the server knows by number."""

    def __init__(self, engines: dict[str, Engine], send: Callable[[m.Event], None]) -> None:
        self.engines, self._send = engines, send
        self._arriving: dict[int, tuple[Engine, PromptEncoder]] = {}
        self._committed: set[int] = set()
        self._prompts: dict[int, tuple[Engine, Prompt]] = {}
        self._streams: dict[int, tuple[Engine, Stream]] = {}
        self._load: dict[str, tuple[int, int]] = {}
        self._prompt_worked_at = 0.0
        self.draining = False

    @property
    def finished(self) -> bool:
        """Whether a draining worker has nothing left to play."""
        return self.draining and not self._streams

    def handle(self, command: m.Command) -> None:
        """Carry out one command; what it names and is not known any more is ignored."""
        match command:
            case m.OpenPrompt():
                self._open_prompt(command)
            case m.AppendPrompt():
                self._append_prompt(command)
            case m.CommitPrompt():
                if command.prompt_id in self._arriving:
                    self._committed.add(command.prompt_id)
            case m.DropPrompt():
                self._forget_prompt(command.prompt_id)
                self._prompts.pop(command.prompt_id, None)
            case m.StartStream():
                self._start_stream(command)
            case m.CancelStream():
                self._cancel_stream(command.stream_id)
            case m.Acknowledge():
                if command.stream_id in self._streams:
                    stream = self._streams[command.stream_id][1]
                    stream.acknowledged = max(stream.acknowledged, command.frames)
            case m.Drain():
                self.draining = True

    def turn(self) -> float | None:
        """One frame step of every model, then one chunk of prompt work, if the listeners can wait for it.

        Returns:
            Seconds until there is more to do, None if nothing will be without a command.
        """
        for name, engine in self.engines.items():
            self._report(name, engine, engine.step())
        if self._arriving and self._listeners_can_wait() and self._prompt_work():
            self._prompt_worked_at = time.monotonic()
            return 0.0
        due = [d for d in (e.scheduler.next_due() for e in self.engines.values()) if d is not None]
        return min(due, default=None)

    def _listeners_can_wait(self) -> bool:
        if time.monotonic() - self._prompt_worked_at > PROMPT_PATIENCE_SECONDS:
            return True
        return all(engine.scheduler.least_lead() > SAFE_LEAD_SECONDS for engine in self.engines.values())

    def _open_prompt(self, command: m.OpenPrompt) -> None:
        if command.model not in self.engines:
            self._send(m.PromptFailed(command.prompt_id, "unknown_model", f"There is no model {command.model!r}."))
        elif len(self._arriving) + len(self._prompts) >= MAX_PROMPTS:
            self._send(m.PromptFailed(command.prompt_id, "no_capacity", "Too many prompts are being held; try later."))
        else:
            engine = self.engines[command.model]
            self._arriving[command.prompt_id] = (engine, engine.open_prompt())

    def _append_prompt(self, command: m.AppendPrompt) -> None:
        if command.prompt_id not in self._arriving:
            return
        try:
            self._arriving[command.prompt_id][1].push(np.frombuffer(command.samples, np.float32))
        except AudioError as error:
            self._fail_prompt(command.prompt_id, error)

    def _prompt_work(self) -> bool:
        """One chunk of the first prompt that has one, or the end of one that is committed; False if there is none."""
        for prompt_id, (engine, encoder) in self._arriving.items():
            if encoder.has_work:
                encoder.work(FRAMES_BETWEEN_STEPS if self._streams else None)
                # Behind the others now: prompts take turns.
                self._arriving[prompt_id] = self._arriving.pop(prompt_id)
                return True
            if prompt_id in self._committed:
                self._finish_prompt(prompt_id, engine, encoder)
                return True
        return False

    def _finish_prompt(self, prompt_id: int, engine: Engine, encoder: PromptEncoder) -> None:
        try:
            prompt = encoder.finish()
        except AudioError as error:
            self._fail_prompt(prompt_id, error)
            return
        self._forget_prompt(prompt_id)
        self._prompts[prompt_id] = (engine, prompt)
        self._send(
            m.PromptReady(
                prompt_id,
                prompt.frames,
                prompt.encode_seconds,
                prompt.prefill_seconds,
                prompt.decoded.numpy().astype("<i2").tobytes(),
            )
        )

    def _fail_prompt(self, prompt_id: int, error: AudioError) -> None:
        self._forget_prompt(prompt_id)
        self._send(m.PromptFailed(prompt_id, error.code, str(error)))

    def _forget_prompt(self, prompt_id: int) -> None:
        self._arriving.pop(prompt_id, None)
        self._committed.discard(prompt_id)

    def _start_stream(self, command: m.StartStream) -> None:
        if command.prompt_id not in self._prompts:
            self._send(m.StreamEnded(command.stream_id, "failed", 0))
            return
        engine, prompt = self._prompts[command.prompt_id]
        stream = Stream(command.stream_id, prompt, command.sampling, command.frames, command.pace)
        self._streams[command.stream_id] = (engine, stream)
        engine.start(stream)

    def _cancel_stream(self, stream_id: int) -> None:
        if stream_id not in self._streams:
            return
        engine, stream = self._streams.pop(stream_id)
        engine.cancel(stream)
        self._send(m.StreamEnded(stream_id, "cancelled", stream.generated))

    def _report(self, name: str, engine: Engine, report: StepReport) -> None:
        now = time.monotonic()
        for stream in report.started:
            self._send(m.StreamStarted(stream.id, now - stream.queued_at))
        if report.frames:
            frames = [m.Frame(f.stream.id, f.index, f.pcm.astype("<i2").tobytes()) for f in report.frames]
            self._send(m.StepDone(name, frames, report.seconds, report.stages))
        for stream in report.ended:
            self._streams.pop(stream.id, None)
            self._send(m.StreamEnded(stream.id, "completed", stream.generated))
        load = (engine.scheduler.active, engine.scheduler.waiting)
        if self._load.get(name) != load:
            self._load[name] = load
            self._send(m.Load(name, *load))


def serve(endpoint: str, models: list[str], device: str, max_streams: int) -> int:
    """Load the models, say ``Ready``, and work until drained or alone. Returns the exit status."""
    parent = os.getppid()  # asked before anything else: it may be gone by the time the models are loaded
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
    socket.set(zmq.SNDHWM, QUEUED_MESSAGES)
    socket.set(zmq.RCVHWM, QUEUED_MESSAGES)
    socket.set(zmq.LINGER, 2000)
    socket.connect(endpoint)

    def send(event: m.Event) -> None:
        socket.send(m.pack(event))

    try:
        engines: dict[str, Engine] = {}
        for name in models:
            engine = Engine.load(name, device, max_streams)
            engine.warm_up()
            if engine.model.id in engines:
                raise ModelError(f"The model {engine.model.id!r} is given twice.")
            engines[engine.model.id] = engine
    except (ModelError, DeviceError) as error:
        send(m.LoadFailed(str(error)))
        return 2
    send(m.Ready([engine.info() for engine in engines.values()]))
    _loop(socket, Worker(engines, send), parent)
    return 0


def _loop(socket: zmq.Socket[bytes], worker: Worker, parent: int) -> None:
    wait: float | None = 0.0
    while not worker.finished and os.getppid() == parent:
        timeout = IDLE_SECONDS if wait is None else min(wait, IDLE_SECONDS)
        if socket.poll(int(timeout * 1000)):
            for _ in range(QUEUED_MESSAGES):
                try:
                    data = socket.recv(zmq.NOBLOCK)
                except zmq.Again:
                    break
                worker.handle(m.unpack_command(data))
        wait = worker.turn()


def main() -> int:
    """The command line that the server starts."""
    parser = argparse.ArgumentParser(prog="engine.worker", description=__doc__)
    parser.add_argument("endpoint", help="ZeroMQ address to connect to")
    parser.add_argument("--model", action="append", required=True, help="name or folder; may be repeated")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-streams", type=int, default=16)
    options = parser.parse_args()
    # The terminal's Ctrl-C reaches the whole group: the server decides when the engine stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return serve(options.endpoint, options.model, options.device, options.max_streams)


if __name__ == "__main__":
    sys.exit(main())
