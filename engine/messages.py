"""Messages between the server and the engine's process: msgpack on a socket, validated, never pickled.

A *prompt* is opened, fed with samples and committed; from a committed prompt any number of *streams* can be
started. The engine answers with one ``StepDone`` for every frame step, holding the new frames of all streams.
Readers grant credit: a stream is stepped while fewer than ``CREDIT_FRAMES`` of its frames are unacknowledged.

A server of several processes has a *link* for each. Numbers of prompts and streams contain the number of the link that
they came by, see ``first_id``; the engine answers there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from struct import Struct
from typing import Literal, TypeAlias

import msgspec

from whispergpt.engine.config import HOP
from whispergpt.engine.stream_plan import SamplingParams, Snapshot, StreamPlan

FRAME_BYTES = 2 * HOP
_SAMPLES = Struct(f"{FRAME_BYTES}s")
CREDIT_FRAMES = 300
"""Frames (4 s) that a stream may be ahead of its reader's last acknowledgement."""

LINK_BITS = 40
"""Bits of a prompt's or stream's number that count within its link."""


def first_id(link: int) -> int:
    """Return the first number for prompts and streams of a link."""
    return (link << LINK_BITS) + 1


def link_of(number: int) -> int:
    """Return the link of a prompt's or stream's number."""
    return number >> LINK_BITS


# --- server → engine


class OpenPrompt(msgspec.Struct, tag=True):
    """Expect a prompt of ``owner``; remembered prompts are never used for another owner.

    Attributes:
        behind: whether the owner has the server work on more, so that prompts of others go first.
    """

    prompt_id: int
    model: str
    owner: str = ""
    behind: bool = False


class AppendPrompt(msgspec.Struct, tag=True):
    """Add to a prompt: mono float32 little-endian samples at 24 kHz."""

    prompt_id: int
    samples: bytes


class CommitPrompt(msgspec.Struct, tag=True):
    """The prompt is whole; answered by ``PromptReady`` or ``PromptFailed``.

    Attributes:
        decoded: whether the answer is to hold the prompt's samples.
        patience: seconds that it may wait for others, or it is refused at once; None where it may wait for ever.
    """

    prompt_id: int
    decoded: bool = False
    patience: float | None = None


class ResumePrompt(msgspec.Struct, tag=True):
    """Make a prompt of what a stream had behind it, as ``SnapshotTaken`` gave it. Answered as a commit is."""

    prompt_id: int
    model: str
    snapshot: Snapshot
    owner: str = ""


class DropPrompt(msgspec.Struct, tag=True):
    """Forget a prompt; streams started from it go on."""

    prompt_id: int


class StartStream(msgspec.Struct, tag=True):
    """Continue a committed prompt as its plan says.

    The stream waits for a slot if none is free. The engine answers with ``StreamStarted`` and then frames in
    ``StepDone``, and a plan with ``snapshots`` with a ``SnapshotTaken`` first and every second.
    """

    stream_id: int
    prompt_id: int
    plan: StreamPlan


class CancelStream(msgspec.Struct, tag=True):
    """Stop a stream or its waiting; answered by a last ``StreamEnded``. Unknown streams are ignored."""

    stream_id: int


class ChangeSampling(msgspec.Struct, tag=True):
    """Change the sampling from the stream's next frame on; answered by ``SamplingChanged``."""

    stream_id: int
    sampling: SamplingParams


class HoldStream(msgspec.Struct, tag=True):
    """Stop a stream, which keeps its slot and its listener's clock, or let it go on."""

    stream_id: int
    held: bool


class Acknowledge(msgspec.Struct, tag=True):
    """Say how many frames the readers of some streams have taken in all, by the streams' numbers."""

    frames: dict[int, int]


class Drain(msgspec.Struct, tag=True):
    """Exit once no stream is left."""


class OpenLink(msgspec.Struct, tag=True):
    """Connect to another process of the server, at a ZeroMQ address; ``Ready`` is said there. By link 0 alone."""

    link: int
    endpoint: str


class CloseLink(msgspec.Struct, tag=True):
    """Close a link, and forget its prompts and streams. By link 0 alone."""

    link: int


Command: TypeAlias = (
    OpenPrompt
    | AppendPrompt
    | CommitPrompt
    | ResumePrompt
    | DropPrompt
    | StartStream
    | CancelStream
    | ChangeSampling
    | HoldStream
    | Acknowledge
    | Drain
    | OpenLink
    | CloseLink
)

# --- engine → server


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
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_event_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


def pack(command: Command) -> bytes:
    """Return a command as bytes."""
    return _encoder.encode(command)


def pack_event(event: Event) -> list[bytes | memoryview]:
    """Return an event as the parts of one message."""
    if isinstance(event, StepDone):
        return [_encoder.encode(msgspec.structs.replace(event, samples=memoryview(b""))), event.samples]
    return [_encoder.encode(event)]


def unpack_command(data: bytes) -> Command:
    """Return a command. Raises msgspec.ValidationError where ``data`` is none."""
    return _command_decoder.decode(data)


def unpack_event(parts: Sequence[bytes | memoryview]) -> Event:
    """Return the event that ``pack_event`` packed.

    Raises:
        msgspec.ValidationError: the parts are no event.
    """
    event = _event_decoder.decode(parts[0])
    if len(parts) != 1 + isinstance(event, StepDone):
        raise msgspec.ValidationError(f"{type(event).__name__} has {len(parts)} parts")
    if isinstance(event, StepDone):
        event.samples = memoryview(parts[1])
    return event
