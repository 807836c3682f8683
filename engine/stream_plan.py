"""Plan of one stream, from the request to the slot, and the snapshot from which it can be resumed."""

from __future__ import annotations

from typing import Literal

import msgspec

from whispergpt.engine.config import NO_LIMIT

Pace = Literal["realtime", "fast"]


class SamplingParams(msgspec.Struct, frozen=True):
    """Sampling of the coarse code. ``temperature`` 0 is greedy, ``top_k`` 0 and ``top_p`` 1 are off."""

    seed: int
    temperature: float
    top_k: int
    top_p: float


class StreamPlan(msgspec.Struct, frozen=True):
    """Plan of one stream, from the request to the slot.

    Attributes:
        frames: frames to make; None goes on until cancelled.
        first_frame: frames that the stream had before, on another server.
        skipped: frames from there on that its reader has already.
        snapshots: whether the engine sends snapshots, at the start and every second.
        resumed: whether the stream is resumed, and comes before new ones.
        promised: whether there was time for the stream before its prompt was worked on. Then it takes a free slot,
            whatever the limit is by now.
    """

    sampling: SamplingParams
    frames: int | None
    pace: Pace = "fast"
    first_frame: int = 0
    skipped: int = 0
    snapshots: bool = False
    resumed: bool = False
    promised: bool = False


class DecoderState(msgspec.Struct, frozen=True):
    """A decoder's state before frame ``start`` of a stream, its prompt's first being 0.
    ``packed`` is empty for silence.

    Resume tokens hold it under the names that it had before.
    """

    start: int = 0
    packed: bytes = msgspec.field(default=b"", name="decoder")


FROM_SILENCE = DecoderState()


class Snapshot(msgspec.Struct, frozen=True):
    """Snapshot from which a stream can be resumed: its last ``codes``, packed, its decoder's state before them, and the
    bandwidth that it is limited to. Older tokens have none, and their streams go on without a limit."""

    codes: bytes
    decoder_state: DecoderState = msgspec.field(default=FROM_SILENCE, name="base")
    limit_hz: int = NO_LIMIT
