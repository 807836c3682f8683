"""A finished continuation."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from whispergpt_client.arrays import from_answer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Continuation:
    """What ``POST /continue`` gave back.

    Attributes:
        audio: the body, in the format that was asked for.
        seed: what reproduces it, given the same prompt, parameters and fingerprint.
        fingerprint: version, device, dtype and kernel path of the engine that made it.
        request_id: what the server's logs call this request.
        sample_rate: samples per second.
        media_type: of ``audio``, such as ``audio/wav``.
        timings: milliseconds by stage (queue, encode, prefill, first_audio, generate), as the server measured them.
    """

    audio: bytes = field(repr=False)
    seed: int
    fingerprint: str
    request_id: str
    sample_rate: int
    media_type: str
    timings: dict[str, float]

    def samples(self) -> npt.NDArray[np.float32]:
        """The audio as float32 ``[n]`` from -1 to 1 (the extra ``numpy``). Raises ValueError where it is neither wav
        nor pcm."""
        return from_answer(self.audio, self.media_type)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the audio to a file and return its path. Raises OSError."""
        target = Path(path)
        target.write_bytes(self.audio)
        return target


def parse_server_timing(header: str) -> dict[str, float]:
    """``queue;dur=0.1, encode;dur=35`` → milliseconds by name; entries without a duration are left out."""
    timings = {}
    for entry in header.split(","):
        name, *parameters = [part.strip() for part in entry.split(";")]
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "dur":
                timings[name] = float(value.strip().strip('"'))
    return timings
