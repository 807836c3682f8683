"""Streams that play or wait on an engine, as admission sees them: those of this process, or of all front ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.stream_plan import Pace, StreamPlan
from whispergpt.server.ledger import Ledger


class LiveStream(Protocol):
    """A stream that plays or waits."""

    @property
    def model(self) -> ModelInfo:
        """Return the stream's model."""
        ...

    @property
    def seconds_left(self) -> float | None:
        """Return the seconds until its last frame, None if they are not known."""
        ...

    @property
    def waits(self) -> bool:
        """Return whether it has no slot yet."""
        ...


class OwnStream(LiveStream, Protocol):
    """A stream of this process."""

    @property
    def stream_id(self) -> int:
        """Return the stream's number."""
        ...

    @property
    def plan(self) -> StreamPlan:
        """Return the stream's plan."""
        ...


class SharedStreams(Protocol):
    """The streams of one engine that all front ends have."""

    def note(self, stream: OwnStream) -> None:
        """Have other front ends see a stream of this one as it is now."""
        ...

    def forget(self, stream_id: int) -> None:
        """Have them see it no longer."""
        ...

    def live(self, models: dict[str, ModelInfo], model: str | None, pace: Pace | None) -> Sequence[LiveStream]:
        """Return all streams, or those of one model and pace.

        Args:
            models: the engine's models.
        """
        ...


@dataclass(frozen=True)
class LinkShare:
    """Share of one front end's link to an engine in what all front ends' links to it have.

    Attributes:
        link: number of this one.
    """

    link: int
    ledger: Ledger
    streams: SharedStreams
