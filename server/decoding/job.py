"""An upload on its way through a decoder."""

from __future__ import annotations

import threading

from whispergpt.server.decoding.decoder import Decoder
from whispergpt.server.decoding.turns import Turns


class Job:
    """One upload, and the decoder that has it. All methods may be called from any thread.

    Attributes:
        places: those of which it has one.
        decoder: None until there is one.
        cut_because: why it was ended early; None if it was not.
        put_off: whether it was ended early because it begins anew later.
    """

    def __init__(self, places: Turns) -> None:
        self.places, self.put_off = places, False
        self.decoder: Decoder | None = None
        self.cut_because: str | None = None
        self._takes_long = self._stands = False
        self._lock = threading.Lock()

    def begin(self, decoder: Decoder) -> None:
        """Take the decoder; it is cut off at once if the job was ended before."""
        with self._lock:
            self.decoder = decoder
            if self._takes_long:
                decoder.give_way()
            if self._stands:
                decoder.stop()
            if self.cut_because is not None:
                decoder.cut()

    def give_way(self) -> None:
        """Lower the priority of its decoder."""
        with self._lock:
            self._takes_long = True
            if self.decoder is not None:
                self.decoder.give_way()

    def stand(self, still: bool) -> None:
        """Stop its decoder, or let it go on."""
        with self._lock:
            self._stands = still
            if self.decoder is not None:
                (self.decoder.stop if still else self.decoder.go_on)()

    def cut(self, why: str) -> None:
        """End the job early; without effect once it is done."""
        with self._lock:
            self.cut_because = self.cut_because or why
            if self.decoder is not None:
                self.decoder.cut()
