"""Samples as numpy arrays (the extra ``numpy``)."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_FULL_SCALE = 32_768


def to_array(pcm: bytes) -> npt.NDArray[np.float32]:
    """Mono s16le bytes as float32 ``[n]`` from -1 to 1."""
    import numpy as np

    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(_FULL_SCALE)


def to_wav(samples: npt.ArrayLike, sample_rate: int) -> bytes:
    """A prompt out of an array: the bytes of a 16-bit wav file, which every method here takes for a file.

    Args:
        samples: ``[n]`` or ``[n, channels]``, int16, or floating point from -1 to 1 (what is beyond is clipped).
        sample_rate: samples per second.

    Raises:
        ValueError: it has another shape or type, or numbers that are not finite.
    """
    import numpy as np

    array = np.asarray(samples)
    if array.ndim not in (1, 2) or not (array.dtype == np.int16 or np.issubdtype(array.dtype, np.floating)):
        raise ValueError(f"samples must be [n] or [n, channels], int16 or float, not {array.dtype} {array.shape}")
    if array.dtype != np.int16:
        if not np.isfinite(array).all():
            raise ValueError("samples must be finite")
        array = np.clip(np.rint(array.astype(np.float64) * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if array.ndim == 1 else array.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(array.astype("<i2").tobytes())
    return buffer.getvalue()


def from_answer(audio: bytes, media_type: str) -> npt.NDArray[np.float32]:
    """The samples of a wav answer, or of a raw one.

    Raises:
        ValueError: it is of a format that takes a decoder.
    """
    if media_type == "audio/wav":
        with wave.open(io.BytesIO(audio)) as file:
            return to_array(file.readframes(file.getnframes()))
    if media_type == "application/octet-stream":
        return to_array(audio)
    raise ValueError(f"wav and pcm become arrays; {media_type} is for soundfile or another decoder")
