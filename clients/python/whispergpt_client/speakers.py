"""The loudspeakers of this machine, by way of PortAudio (the extra ``play``)."""

from __future__ import annotations

from types import TracebackType
from typing import Any

LATENCY_SECONDS = 0.2
"""Of sound that the device holds: enough for an ordinary machine's hiccups."""


class SpeakersError(RuntimeError):
    """There is nothing to play on; the message says what to do."""


class Speakers:
    """Plays mono s16le samples; ``write`` returns once the device has room for them.

    Args:
        sample_rate: samples per second.

    Raises:
        SpeakersError: the library or a device is missing.
    """

    def __init__(self, sample_rate: int) -> None:
        try:
            import sounddevice
        except ImportError:
            told = "To play, install sounddevice: pip install 'whispergpt-client[play]'; or write a file with -o."
            raise SpeakersError(told) from None
        except OSError:
            told = "To play, install PortAudio (Debian: apt install libportaudio2); or write a file with -o."
            raise SpeakersError(told) from None
        try:
            self._device: Any = sounddevice.RawOutputStream(
                samplerate=sample_rate, channels=1, dtype="int16", latency=LATENCY_SECONDS
            )
            self._device.start()
        except sounddevice.PortAudioError as error:
            raise SpeakersError(f"No loudspeaker can be used ({error}); write a file with -o.") from None

    def __enter__(self) -> Speakers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was written is heard out, but for one who breaks off."""
        self._device.abort() if kind else self._device.stop()
        self._device.close()

    def write(self, pcm: bytes) -> None:
        """Play these samples behind those before them."""
        self._device.write(pcm)
