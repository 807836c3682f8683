"""What every peer is: a loop that is loaded in a variant, and steps groups of streams."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import torch

from whispergpt.engine.config import CodecConfig, StackConfig, from_dict

DType = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Sizes:
    """What is measured: the model's stack and the codec; ``in_prompt`` frames fill every cache."""

    stack: StackConfig
    codec: CodecConfig

    @property
    def in_prompt(self) -> int:
        return self.stack.window + 8

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Sizes:
        """From JSON, as ``asdict`` gave it."""
        return cls(from_dict(StackConfig, values["stack"]), from_dict(CodecConfig, values["codec"]))


@dataclass(frozen=True)
class Variant:
    """A way to run a peer.

    Attributes:
        frames: made at once before their samples are decoded.
        as_published: untouched, as its documentation has it; else with weight normalisation folded.
    """

    dtype: DType = "float32"
    compiled: bool = False
    frames: int = 1
    as_published: bool = False

    @property
    def torch_dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.dtype == "bfloat16" else torch.float32

    def described(self) -> dict[str, Any]:
        return asdict(self)


class Group(Protocol):
    """Streams that are stepped together."""

    def advance(self) -> None:
        """The variant's number of frames for each."""
        ...


class Peer(Protocol):
    """A loaded peer."""

    def group(self, streams: int) -> Group:
        """So many streams, their caches full."""
        ...


class PeerModule(Protocol):
    """A module beside this one. ``CHUNKS``: numbers of frames to try; ``PUBLISHED_CHUNK``: of ``as_published``."""

    NAME: str
    CHUNKS: tuple[int, ...]
    PUBLISHED_CHUNK: int | None

    def load(self, sizes: Sizes, variant: Variant, device: torch.device) -> Peer:
        """Raises ImportError where a package is missing."""
        ...


class PeerRunner:
    """A peer as a runner: its streams in groups of at most ``batch``, as equal as can be, one after the other."""

    def __init__(self, peer: Peer, frames: int, batch: int | None = None) -> None:
        self._peer, self.frames, self._batch = peer, frames, batch
        self._groups: list[Group] = []

    def prepare(self, streams: int) -> None:
        self._groups.clear()
        count = -(-streams // self._batch) if self._batch else 1
        for index in range(count):
            size = streams * (index + 1) // count - streams * index // count
            self._groups.append(self._peer.group(size))

    @torch.inference_mode()
    def advance(self) -> None:
        for group in self._groups:
            group.advance()


def window_frames(sizes: Sizes) -> int:
    """Frames before a chunk that a decoder which cannot stream has to decode again, lest the chunks' joins click.

    It is the reach of the convolutions alone: the first one's and two frames for the finer ones. That the LSTM forgets
    everything at each chunk is audible, and let pass.
    """
    return sizes.codec.kernel_size - 1 + 2
