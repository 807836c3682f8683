"""Samples as numpy arrays (needs the extra ``numpy``)."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_FULL_SCALE = 32_768


def to_array(pcm: bytes) -> npt.NDArray[np.float32]:
    """Return mono s16le bytes as float32 ``[n]`` from -1 to 1."""
    import numpy as np

    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(_FULL_SCALE)


def to_wav(samples: npt.ArrayLike, sample_rate: int) -> bytes:
    """Return an array as a prompt: the bytes of a 16-bit wav file.

    Args:
        samples: ``[n]`` or ``[n, channels]``, int16, or floating point from -1 to 1 (values beyond are clipped).
        sample_rate: samples per second.

    Raises:
        ValueError: the array has another shape or type, or numbers that are not finite.
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
    """Return the samples of a wav or raw answer as float32 ``[n]``.

    Raises:
        ValueError: the format needs a decoder.
    """
    if media_type == "audio/wav":
        with wave.open(io.BytesIO(audio)) as file:
            return to_array(file.readframes(file.getnframes()))
    if media_type == "application/octet-stream":
        return to_array(audio)
    raise ValueError(f"wav and pcm become arrays; {media_type} is for soundfile or another decoder")
