"""Events from the engine's process to the server, and their bytes.

There is one ``StepDone`` for every frame step, holding the new frames of all streams of a link.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from struct import Struct
from typing import Literal, TypeAlias

import msgspec

from whispergpt.engine.config import HOP
from whispergpt.engine.stream_plan import SamplingParams, Snapshot

FRAME_BYTES = 2 * HOP
_SAMPLES = Struct(f"{FRAME_BYTES}s")


class ModelInfo(msgspec.Struct):
    """One loaded model, as ``/v1/models`` shows it. ``revision``: the commit of the hub that it is, None where it is
    not from there; ``slow_because``: why it does not run as fast as it could;
    ``digest``: of its files; ``recalls``: whether its streams can go on elsewhere, and ``exactly``: with
    the very same samples where the fingerprint is the same; ``kernels``: how the frame step runs."""

    id: str
    parameters: int
    sample_rate: int
    frame_rate: int
    defaults: dict[str, float | int]
    licence: str
    fingerprint: str
    slots: int
    revision: str | None = None
    slow_because: str | None = None
    digest: str = ""
    resumable: bool = False
    exactly: bool = False
    kernels: str = ""


class Ready(msgspec.Struct, tag=True):
    """Every model has really generated."""

    models: list[ModelInfo]


class LoadFailed(msgspec.Struct, tag=True):
    """The engine cannot start; ``message`` is for the user. The process exits."""

    message: str


class PromptReady(msgspec.Struct, tag=True):
    """A prompt is encoded and prefilled, or ``known`` from an earlier time, at no cost. ``decoded``: its s16le samples
    as the codec gives them back, where its commit asks for them, else empty."""

    prompt_id: int
    frames: int
    encode_seconds: float
    prefill_seconds: float
    decoded: bytes
    known: bool = False


class PromptFailed(msgspec.Struct, tag=True):
    prompt_id: int
    code: str
    message: str


class StreamStarted(msgspec.Struct, tag=True):
    """The stream has its slot, after ``queue_seconds`` of waiting."""

    stream_id: int
    queue_seconds: float


class StreamEnded(msgspec.Struct, tag=True):
    """No frame of this stream follows; its slot is free."""

    stream_id: int
    status: Literal["completed", "cancelled", "failed"]
    frames: int


Frame: TypeAlias = tuple[int, int, bytes]
"""Number of a stream; the frame's, counted from where the stream began, be it elsewhere; its 320 samples, s16le."""


class SamplingChanged(msgspec.Struct, tag=True):
    """The last ``ChangeSampling`` governs the stream from ``frame`` on."""

    stream_id: int
    frame: int


class SnapshotTaken(msgspec.Struct, tag=True):
    """State from which the stream can go on at ``frame``, its next one, and its sampling."""

    stream_id: int
    frame: int
    sampling: SamplingParams
    snapshot: Snapshot


class StepDone(msgspec.Struct, tag=True):
    """One frame step of one model: the new frames of all the link's streams in one block, and its time.

    Attributes:
        stream_ids, indices: of each frame; int64 in the machine's byte order.
        samples: s16le, frame after frame; sent as a part of its own, without a copy.
        stage_seconds: there now and then, else empty.
        streams: of the whole step. Where several links get frames of a step, the others get 0 and no times, so that
            each step is counted once.
    """

    model: str
    stream_ids: memoryview
    indices: memoryview
    samples: memoryview
    step_seconds: float
    stage_seconds: dict[str, float]
    streams: int

    @property
    def frames(self) -> Iterator[Frame]:
        """Yield the frames one by one.

        Their samples are copies, which take no longer than views. A view would keep the whole block for as long as the
        slowest reader keeps its frame.

        Raises:
            ValueError: the parts of the message have different lengths.
            struct.error: the samples are not whole frames.
        """
        stream_ids, indices = self.stream_ids.cast("q").tolist(), self.indices.cast("q").tolist()
        return zip(stream_ids, indices, map(itemgetter(0), _SAMPLES.iter_unpack(self.samples)), strict=True)

    @property
    def count(self) -> int:
        """Return the number of frames."""
        return len(self.samples) // FRAME_BYTES


class Load(msgspec.Struct, tag=True):
    """Slots in use, streams waiting, and how many real-time streams there is time for, whenever one changes."""

    model: str
    active: int
    waiting: int
    most_listened: int


class LinkLost(msgspec.Struct, tag=True):
    """A link was closed because nothing was read from it; its prompts and streams are forgotten."""

    link: int


Event: TypeAlias = (
    Ready
    | LoadFailed
    | PromptReady
    | PromptFailed
    | StreamStarted
    | StreamEnded
    | SamplingChanged
    | SnapshotTaken
    | StepDone
    | Load
    | LinkLost
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


def pack_event(event: Event) -> list[bytes | memoryview]:
    """Return an event as the parts of one message."""
    if isinstance(event, StepDone):
        return [_encoder.encode(msgspec.structs.replace(event, samples=memoryview(b""))), event.samples]
    return [_encoder.encode(event)]


def unpack_event(parts: Sequence[bytes | memoryview]) -> Event:
    """Return the event that ``pack_event`` packed.

    Raises:
        msgspec.ValidationError: the parts are no event.
    """
    event = _decoder.decode(parts[0])
    if len(parts) != 1 + isinstance(event, StepDone):
        raise msgspec.ValidationError(f"{type(event).__name__} has {len(parts)} parts")
    if isinstance(event, StepDone):
        event.samples = memoryview(parts[1])
    return event
