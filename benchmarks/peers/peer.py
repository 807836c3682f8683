"""Interface of a peer: a generation loop that is loaded in a variant and steps groups of streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from whispergpt.engine.config import CodecConfig, StackConfig, from_dict

DType = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the model's stack and of the codec; ``in_prompt`` frames fill every cache."""

    stack: StackConfig
    codec: CodecConfig

    @property
    def in_prompt(self) -> int:
        return self.stack.window + 8

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Sizes:
        """Return the sizes from the values that ``asdict`` gave."""
        return cls(from_dict(StackConfig, values["stack"]), from_dict(CodecConfig, values["codec"]))


@dataclass(frozen=True)
class Variant:
    """A way to run a peer.

    Attributes:
        frames: frames that are made before their samples are decoded.
        as_published: whether weight normalisation stays, as in the package's documentation, or is folded.
    """

    dtype: DType = "float32"
    compiled: bool = False
    frames: int = 1
    as_published: bool = False

    @property
    def torch_dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.dtype == "bfloat16" else torch.float32


class Group(Protocol):
    """Streams that are stepped together."""

    def advance(self) -> None:
        """Make the variant's number of frames for each stream."""
        ...


class Peer(Protocol):
    """A loaded peer."""

    def group(self, streams: int) -> Group:
        """Return ``streams`` streams with full caches."""
        ...


class PeerModule(Protocol):
    """A peer's module in this folder.

    Attributes:
        CHUNKS: numbers of frames to try.
        PUBLISHED_CHUNK: number of frames of the published form; None if it is not measured.
    """

    NAME: str
    CHUNKS: tuple[int, ...]
    PUBLISHED_CHUNK: int | None

    def load(self, sizes: Sizes, variant: Variant, device: torch.device) -> Peer:
        """Load the peer in one variant; raises ImportError if a package is missing."""
        ...


class PeerRunner:
    """Runner over a peer: streams in groups of nearly equal size, at most ``batch``, stepped one after the other."""

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
    """Return the frames before a chunk that a decoder without streaming decodes again, so that joins do not click.

    The number covers the convolutions: the first one and two frames for the finer ones. The LSTM loses its state at
    each chunk, which is audible and accepted here.
    """
    return sizes.codec.kernel_size - 1 + 2
