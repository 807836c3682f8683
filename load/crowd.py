"""Open loop over a run's listeners, which start at their planned times even if the server is slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from whispergpt.engine.playback_clock import PlaybackClock
from whispergpt.load.listener import Listener, Output
from whispergpt.load.plan import Visit
from whispergpt.load.reach import key_headers
from whispergpt.load.record import ListenerRecord, Summary, sum_up
from whispergpt.load.voices import Voices

_PULSE_SECONDS = 0.02


class Crowd:
    """The listeners of a run and their records.

    Args:
        address: address of the server's ``/stream``.
        buffer_seconds: audio that each listener's player buffers before it plays.
        output: format of the audio.

    Attributes:
        records: a record for each listener that has arrived, in order.
        lags: delay of this program's own wake-ups in seconds, every 20 ms; large values make the results doubtful.

    Raises:
        ValueError: the key has characters that no key has.
    """

    def __init__(
        self,
        address: str,
        visits: Sequence[Visit],
        voices: Voices,
        buffer_seconds: float,
        model: str | None = None,
        api_key: str | None = None,
        output: Output = "pcm_s16le",
    ) -> None:
        self._address, self._visits, self._voices = address, visits, voices
        self._headers = key_headers(api_key)
        self._buffer_seconds, self._model, self._output = buffer_seconds, model, output
        self._began = time.perf_counter()
        self.records: list[ListenerRecord] = []
        self.lags: list[float] = []

    def now(self) -> float:
        """Return the seconds since the start of the run."""
        return time.perf_counter() - self._began

    def summary(self) -> Summary:
        """Return the sums so far."""
        return sum_up(self.records)

    async def run(self, began: float | None = None) -> None:
        """Run until the last listener is gone; if cancelled, all leave at once and their records say so.

        Args:
            began: start of the run on ``time.perf_counter``'s clock; now, if there is none.
        """
        self._began = time.perf_counter() if began is None else began
        pulse = asyncio.create_task(self._pulse())
        try:
            async with asyncio.TaskGroup() as listeners:
                for visit in self._visits:
                    await asyncio.sleep(visit.at - self.now())
                    record = ListenerRecord(visit, PlaybackClock(self._buffer_seconds), self.now())
                    self.records.append(record)
                    asked = self._model, self._headers, self._output
                    listener = Listener(self._address, record, self._voices, self.now, *asked)
                    listeners.create_task(listener.run())
        finally:
            pulse.cancel()
            for record in self.records:
                if record.outcome in ("waiting", "playing"):
                    record.outcome = "left"

    async def _pulse(self) -> None:
        while True:
            asleep = self.now()
            await asyncio.sleep(_PULSE_SECONDS)
            self.lags.append(self.now() - asleep - _PULSE_SECONDS)
