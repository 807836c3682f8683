"""Links of the engine's process: one to each process of the server that has prompts and streams here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from whispergpt.engine.messages.events import (
    Event,
    LinkLost,
    PromptFailed,
    PromptReady,
    SamplingChanged,
    SnapshotTaken,
    StepDone,
    StreamEnded,
    StreamStarted,
)
from whispergpt.engine.messages.links import LINK_BITS, link_of
from whispergpt.engine.streams.step_report import StepReport


class LinkFullError(Exception):
    """The process at the other end of a link reads nothing, and no more messages may wait for it."""


class Links:
    """Ways to send events, by the number of the link.

    Args:
        send: takes each event for link 0.

    Attributes:
        lost: links that are full; they get nothing more, and are to be closed.
    """

    def __init__(self, send: Callable[[Event], object]) -> None:
        self._sends: dict[int, Callable[[Event], object]] = {0: send}
        self.lost: set[int] = set()

    def open(self, link: int, send: Callable[[Event], object]) -> None:
        """Send events of a link by ``send``, which raises LinkFullError where the link cannot go on."""
        self._sends[link] = send

    def close(self, link: int) -> None:
        """Send nothing more to a link."""
        self._sends.pop(link, None)
        self.lost.discard(link)

    def send(self, event: Event) -> None:
        """Send an event to the link of its prompt or stream; an event about neither goes to all links."""
        match event:
            case PromptReady() | PromptFailed():
                self._send_to(link_of(event.prompt_id), event)
            case StreamStarted() | StreamEnded() | SamplingChanged() | SnapshotTaken():
                self._send_to(link_of(event.stream_id), event)
            case LinkLost():
                self._send_to(0, event)
            case _:
                for link in list(self._sends):
                    self._send_to(link, event)

    def send_step(self, model: str, report: StepReport) -> None:
        """Send each link the new frames of its streams, in one message; the first one has the step's times."""
        frames, streams = report.frames, len(report.frames)
        samples = frames.samples.astype("<i2", copy=False)
        seconds, stages = report.seconds, report.stages
        for link, own in self._shares(frames.stream_ids):
            ids, indices = _bytes_of(frames.stream_ids[own]), _bytes_of(frames.indices[own])
            self._send_to(link, StepDone(model, ids, indices, _bytes_of(samples[own]), seconds, stages, streams))
            seconds, stages, streams = 0.0, {}, 0

    def _shares(self, stream_ids: npt.NDArray[np.int64]) -> Iterator[tuple[int, slice | npt.NDArray[np.bool_]]]:
        """Yield the links of streams, each with the places of its own; all of them, uncopied, for the only link."""
        if len(self._sends) == 1:
            yield 0, slice(None)
            return
        links = stream_ids >> LINK_BITS
        for link in np.unique(links).tolist():
            yield link, links == link

    def _send_to(self, link: int, event: Event) -> None:
        if link in self._sends and link not in self.lost:
            try:
                self._sends[link](event)
            except LinkFullError:
                self.lost.add(link)


def _bytes_of(array: npt.NDArray[np.int64] | npt.NDArray[np.int16]) -> memoryview:
    """Return the memory of an array that is not empty."""
    return np.ascontiguousarray(array).data.cast("B")
