"""Prompts and streams of one link by number, and what the engine says of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from whispergpt.engine.messages.events import (
    Event,
    ModelInfo,
    PromptFailed,
    PromptReady,
    SamplingChanged,
    SnapshotTaken,
    StepDone,
    StreamEnded,
    StreamStarted,
)
from whispergpt.engine.stream_plan import Pace
from whispergpt.server.errors import ApiError
from whispergpt.server.ledger import Number
from whispergpt.server.link.live_streams import LiveStream, SharedStreams
from whispergpt.server.link.prompt_handle import PromptHandle
from whispergpt.server.link.stream_handle import StreamHandle
from whispergpt.server.observe.metrics import Metrics, observe_many


class LinkWork:
    """The prompts and streams of a link, which the engine's events name by number.

    Args:
        encoding: returns a model's count of prompts that are received and encoded, and cannot be continued yet.
        shared: streams of the links of all front ends; None for a server that is one process.
    """

    def __init__(self, metrics: Metrics, encoding: Callable[[str], Number], shared: SharedStreams | None) -> None:
        self._metrics, self._encoding, self._shared = metrics, encoding, shared
        self._prompts: dict[int, PromptHandle] = {}
        self._streams: dict[int, StreamHandle] = {}

    # --- what there is

    def live(
        self, models: dict[str, ModelInfo], model: str | None = None, pace: Pace | None = None
    ) -> Sequence[LiveStream]:
        """Return the streams of all front ends that play or wait: all, or those of one model and pace."""
        if self._shared is not None:
            return self._shared.live(models, model, pace)
        return [s for s in self._streams.values() if model in (None, s.model.id) and pace in (None, s.plan.pace)]

    def streams(self) -> list[StreamHandle]:
        """Return the link's own streams."""
        return list(self._streams.values())

    def recorded(self) -> list[str]:
        """Return the models of the prompts that are being recorded."""
        return [prompt.model.id for prompt in self._prompts.values() if prompt.recorded]

    # --- what comes and goes

    def add_prompt(self, prompt: PromptHandle) -> None:
        """Expect events of a prompt."""
        self._prompts[prompt.prompt_id] = prompt
        self._count_prompts(prompt.model.id)

    def add_stream(self, stream: StreamHandle) -> None:
        """Expect events of a stream."""
        self._streams[stream.stream_id] = stream
        self.note(stream)

    def note(self, stream: StreamHandle) -> None:
        """Have other front ends see a stream as it is now."""
        if self._shared is not None and stream.stream_id in self._streams:
            self._shared.note(stream)

    def forget_prompt(self, prompt_id: int) -> bool:
        """Forget a prompt; returns whether it was known."""
        prompt = self._prompts.pop(prompt_id, None)
        if prompt is not None:
            self._count_prompts(prompt.model.id)
        return prompt is not None

    def forget_stream(self, stream_id: int) -> bool:
        """Forget a stream; returns whether it ran."""
        if self._shared is not None:
            self._shared.forget(stream_id)
        return self._streams.pop(stream_id, None) is not None

    def fail_all(self, error: ApiError) -> None:
        """Fail all prompts and streams, and forget them."""
        for prompt in list(self._prompts.values()):
            prompt.fail(error)
        for stream in self.streams():
            stream.fail(error)
        for prompt_id in list(self._prompts):
            self.forget_prompt(prompt_id)
        for stream_id in list(self._streams):
            self.forget_stream(stream_id)

    def _count_prompts(self, model: str) -> None:
        prompts = self._prompts.values()
        self._encoding(model).part = sum(prompt.model.id == model and not prompt.answered for prompt in prompts)

    # --- what the engine says

    def hear(self, event: Event) -> None:
        """Tell an event to the prompts or streams that it is about; unknown ones are ignored.

        Raises:
            RuntimeError: the event is about neither.
        """
        match event:
            case StepDone():
                self._step_done(event)
            case PromptReady():
                if prompt := self._prompts.get(event.prompt_id):
                    self._metrics.prompt_cache.labels(prompt.model.id, "hit" if event.known else "miss").inc()
                    if not event.known:
                        self._metrics.prompt_encode.labels(prompt.model.id).observe(event.encode_seconds)
                    prompt.ready(event)
                    self._count_prompts(prompt.model.id)
            case PromptFailed():
                if prompt := self._prompts.get(event.prompt_id):
                    self.forget_prompt(event.prompt_id)
                    prompt.refused(event)
            case StreamStarted():
                if stream := self._streams.get(event.stream_id):
                    self._metrics.request_queue.labels(stream.model.id).observe(event.queue_seconds)
                    stream.begin(event.queue_seconds)
                    self.note(stream)
            case SamplingChanged():
                if stream := self._streams.get(event.stream_id):
                    stream.sampling_changed(event.frame)
            case SnapshotTaken():
                if stream := self._streams.get(event.stream_id):
                    stream.note(event)
            case StreamEnded():
                if stream := self._streams.get(event.stream_id):
                    self.forget_stream(event.stream_id)
                    stream.end(event.status)
            case _:
                raise RuntimeError(f"unexpected {type(event).__name__}")

    def _step_done(self, event: StepDone) -> None:
        metrics, model = self._metrics, event.model
        if event.streams:
            metrics.frame_step.labels(model).observe(event.step_seconds)
            metrics.batch_size.labels(model).observe(event.streams)
        for stage, seconds in event.stage_seconds.items():
            metrics.stage.labels(model, stage).observe(seconds)
        metrics.frames.labels(model).inc(event.count)
        now, streams = time.perf_counter(), self._streams
        frames_since: dict[float, int] = {}
        """Frames whose stream's frame before came at a time; there are few such times."""
        for stream_id, _, pcm in event.frames:
            if stream := streams.get(stream_id):
                before = stream.deliver(pcm, now)
                if before is not None:
                    frames_since[before] = frames_since.get(before, 0) + 1
        between = metrics.inter_frame.labels(model)
        for before, count in frames_since.items():
            observe_many(between, now - before, count)
