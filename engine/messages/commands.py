"""Commands from the server to the engine's process, and their bytes.

A *prompt* is opened, fed with samples and committed; from a committed prompt any number of *streams* can be started.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from whispergpt.engine.stream_plan import SamplingParams, Snapshot, StreamPlan


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


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)


def pack(command: Command) -> bytes:
    """Return a command as bytes."""
    return _encoder.encode(command)


def unpack_command(data: bytes) -> Command:
    """Return a command. Raises msgspec.ValidationError where ``data`` is none."""
    return _decoder.decode(data)
