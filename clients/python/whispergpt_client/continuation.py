"""Finished continuation, as ``POST /continue`` returns it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from whispergpt_client.arrays import from_answer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_ENDINGS = {
    "audio/wav": (".wav",),
    "audio/flac": (".flac",),
    "audio/mpeg": (".mp3",),
    "audio/ogg": (".opus", ".ogg"),
    "application/octet-stream": (".pcm", ".raw"),
}
"""Endings of files by the media type of their audio."""


@dataclass(frozen=True)
class Continuation:
    """Answer to ``POST /continue``.

    Attributes:
        audio: body of the answer, in the requested format.
        seed: seed that gives the same audio again, with the same prompt, parameters and fingerprint.
        fingerprint: version, device, dtype and kernel path of the engine that made it.
        request_id: name of this request in the server's logs.
        sample_rate: samples per second.
        media_type: media type of ``audio``, such as ``audio/wav``.
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
        """Return the audio as float32 ``[n]`` from -1 to 1 (needs the extra ``numpy``).

        Raises:
            ValueError: the audio is neither wav nor pcm.
        """
        return from_answer(self.audio, self.media_type)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the audio to a file and return its path.

        Raises:
            OSError: the file cannot be written.
            ValueError: the file's ending is not that of the audio.
        """
        target = Path(path)
        require_ending(target, _ENDINGS.get(self.media_type, ()))
        target.write_bytes(self.audio)
        return target


def require_ending(path: Path, endings: Collection[str]) -> None:
    """Raise ValueError if a path has none of the endings, of which there may be none."""
    if endings and path.suffix.lower() not in endings:
        known = "one of " * (len(endings) > 1) + ", ".join(endings)
        raise ValueError(f"{path} does not end in {known}")


def parse_server_timing(header: str) -> dict[str, float]:
    """Return milliseconds by name from ``queue;dur=0.1, encode;dur=35``, without the entries that have no duration."""
    timings = {}
    for entry in header.split(","):
        name, *parameters = [part.strip() for part in entry.split(";")]
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "dur":
                timings[name] = float(value.strip().strip('"'))
    return timings
