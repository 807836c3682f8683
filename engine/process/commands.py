"""Carries out commands of the server, and one frame step of each model a turn."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

import numpy as np

from whispergpt.engine.device import loss_of_device
from whispergpt.engine.engine import Engine
from whispergpt.engine.messages.commands import (
    Acknowledge,
    AppendPrompt,
    CancelStream,
    ChangeSampling,
    CloseLink,
    Command,
    CommitPrompt,
    Drain,
    DropPrompt,
    HoldStream,
    OpenLink,
    OpenPrompt,
    ResumePrompt,
    StartStream,
)
from whispergpt.engine.messages.events import (
    Event,
    Load,
    PromptFailed,
    PromptReady,
    SamplingChanged,
    StreamEnded,
    StreamStarted,
)
from whispergpt.engine.messages.links import link_of
from whispergpt.engine.process.links import Links
from whispergpt.engine.prompts.desk import UNUSABLE, Finished, PromptDesk
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.prompts.resume import ResumeError
from whispergpt.engine.streams.capacity import Capacity
from whispergpt.engine.streams.scheduler import Stream
from whispergpt.engine.streams.step_report import StepReport

MAX_PROMPTS = 512
"""Prompts held at once, or twice as many as there are slots, if that is more; each is about two megabytes."""
BEAT_SECONDS = 0.5
"""Longest time in seconds between two messages to the server."""


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
        send: Callable[[Event], None],
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
        for stream_id in [one for one in self._streams if link_of(one) == link]:
            self._cancel_stream(stream_id)
        for prompt_id in [one for one in {*self._prompts, *self._desk.prompt_ids} if link_of(one) == link]:
            self._drop_prompt(prompt_id)

    def handle(self, command: Command) -> None:
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

    def _give_up(self, command: Command) -> None:
        match command:
            case Drain() | OpenLink() | CloseLink():
                raise RuntimeError("the engine cannot drain or change its links")
            case StartStream() | CancelStream() | ChangeSampling() | HoldStream():
                self._end_failed(command.stream_id)
            case Acknowledge():
                for stream_id in command.frames:
                    self._end_failed(stream_id)
            case _:
                self._desk.drop(command.prompt_id)
                self._send(PromptFailed(command.prompt_id, "internal", UNUSABLE))

    def _end_failed(self, stream_id: int) -> None:
        if known := self._streams.pop(stream_id, None):
            engine, stream = known
            engine.scheduler.end(stream, "failed")
        self._send(StreamEnded(stream_id, "failed", known[1].generated if known else 0))

    def _carry_out(self, command: Command) -> None:
        match command:
            case OpenPrompt():
                self._open_prompt(command)
            case AppendPrompt():
                self._desk.append(command.prompt_id, np.frombuffer(command.samples, np.float32))
            case CommitPrompt():
                self._desk.commit(command.prompt_id, command.decoded, command.patience)
            case ResumePrompt():
                self._resume_prompt(command)
            case DropPrompt():
                self._drop_prompt(command.prompt_id)
            case StartStream():
                self._start_stream(command)
            case CancelStream():
                self._cancel_stream(command.stream_id)
            case Acknowledge():
                self._acknowledge(command.frames)
            case ChangeSampling() | HoldStream():
                if command.stream_id in self._streams:
                    self._control(*self._streams[command.stream_id], command)
            case Drain():
                self.draining = True
            case OpenLink() | CloseLink():
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
        self._desk.give_way(len(self._desk) > 0 and any(e.scheduler.short for e in self.engines.values()))
        due = [d for d in (e.scheduler.next_due() for e in self.engines.values()) if d is not None]
        return min(due, default=None)

    def _open_prompt(self, command: OpenPrompt) -> None:
        if engine := self._engine_for_prompt(command):
            self._desk.open(command.prompt_id, engine, command.owner, command.behind)

    def _resume_prompt(self, command: ResumePrompt) -> None:
        if engine := self._engine_for_prompt(command):
            try:
                self._desk.resume(command.prompt_id, engine, command.snapshot, command.owner)
            except ResumeError as error:
                self._send(PromptFailed(command.prompt_id, "bad_token", str(error)))

    def _engine_for_prompt(self, command: OpenPrompt | ResumePrompt) -> Engine | None:
        """Return the engine of a new prompt's model; None where the prompt was refused."""
        if command.model not in self.engines:
            self._send(PromptFailed(command.prompt_id, "unknown_model", f"There is no model {command.model!r}."))
        elif len(self._desk) + len(self._prompts) >= self._most_prompts:
            self._send(PromptFailed(command.prompt_id, "no_capacity", "Too many prompts are being held; try later."))
        else:
            return self.engines[command.model]
        return None

    def _drop_prompt(self, prompt_id: int) -> None:
        self._desk.drop(prompt_id)
        self._prompts.pop(prompt_id, None)

    def _finish_prompt(self, finished: Finished) -> None:
        prompt = finished.outcome
        if not isinstance(prompt, Prompt):
            self._send(PromptFailed(finished.prompt_id, prompt.code, str(prompt)))
            return
        self._prompts[finished.prompt_id] = (finished.engine, prompt)
        self._send(
            PromptReady(
                finished.prompt_id,
                prompt.frames,
                0.0 if finished.known else prompt.encode_seconds,
                0.0 if finished.known else prompt.prefill_seconds,
                prompt.decoded.numpy().astype("<i2").tobytes() if finished.decoded else b"",
                finished.known,
            )
        )

    def _start_stream(self, command: StartStream) -> None:
        if command.prompt_id not in self._prompts:
            self._send(StreamEnded(command.stream_id, "failed", 0))
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
        self._send(StreamEnded(stream_id, "cancelled", stream.generated))

    def _acknowledge(self, frames: dict[int, int]) -> None:
        for engine in self.engines.values():
            engine.scheduler.acknowledge(frames)

    def _control(self, engine: Engine, stream: Stream, command: ChangeSampling | HoldStream) -> None:
        match command:
            case ChangeSampling():
                engine.change_sampling(stream, command.sampling)
                self._send(SamplingChanged(stream.id, stream.next_frame))
            case HoldStream():
                engine.scheduler.hold(stream, command.held)

    def _report(self, name: str, engine: Engine, report: StepReport) -> None:
        now = time.monotonic()
        for stream in report.started:
            self._send(StreamStarted(stream.id, now - stream.queued_at))
        if report.frames:
            self.links.send_step(name, report)
        for snapshot in report.snapshots:
            self._send(snapshot)
        for stream in report.failed:
            self._streams.pop(stream.id, None)
            self._send(StreamEnded(stream.id, "failed", stream.generated))
        for stream in report.ended:
            self._streams.pop(stream.id, None)
            self._send(StreamEnded(stream.id, "completed", stream.generated))
        load = (engine.scheduler.active, engine.scheduler.waiting, engine.scheduler.most_listened)
        if self._load.get(name) != load or now > self._told.get(name, 0.0) + BEAT_SECONDS:
            self._load[name], self._told[name] = load, now
            self._send(Load(name, *load))
