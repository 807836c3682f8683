"""Loudspeakers of this machine, through PortAudio (needs the extra ``play``)."""

from __future__ import annotations

from types import TracebackType
from typing import Any

LATENCY_SECONDS = 0.2
"""Seconds of sound that the device buffers: enough for short interruptions of the program."""


class SpeakersError(RuntimeError):
    """Error of a machine without a usable loudspeaker or library; the message says what to do."""

    def advising(self, file: bool) -> str:
        """Return the message with what a command's user can do instead; ``file``: whether ``-o`` is given already."""
        alone = "nothing is written: leave --play out for the file alone."
        instead = alone if file else "-o FILE writes a file instead."
        return f"{str(self).rstrip('.')}; {instead}"


class LostSpeakersError(SpeakersError):
    """Error of a loudspeaker that failed while it played."""

    def advising(self, file: bool) -> str:
        """Return the message, and what became of the file."""
        return f"{str(self).rstrip('.')}; the file ends there." if file else str(self)


class Speakers:
    """Player of mono s16le samples; ``write`` returns once the device has room for them.

    Args:
        sample_rate: samples per second.

    Raises:
        SpeakersError: the library or a device is missing.
    """

    def __init__(self, sample_rate: int) -> None:
        try:
            import sounddevice
        except ImportError:
            told = "To play, install sounddevice: pip install sounddevice."
            raise SpeakersError(told) from None
        except OSError:
            told = "To play, install PortAudio (Debian: apt install libportaudio2)."
            raise SpeakersError(told) from None
        self._failure: type[Exception] = sounddevice.PortAudioError
        try:
            self._device: Any = sounddevice.RawOutputStream(
                samplerate=sample_rate, channels=1, dtype="int16", latency=LATENCY_SECONDS
            )
            self._device.start()
        except sounddevice.PortAudioError as error:
            raise SpeakersError(f"No loudspeaker can be used ({error}).") from None

    def __enter__(self) -> Speakers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Play to the end what was written; after an exception, stop at once."""
        self._device.abort() if kind else self._device.stop()
        self._device.close()

    def write(self, pcm: bytes) -> None:
        """Play these samples after those written before. Raises LostSpeakersError if the device fails or is gone."""
        try:
            self._device.write(pcm)
        except self._failure as error:
            raise LostSpeakersError(f"The loudspeaker cannot be used any more ({error}).") from None
