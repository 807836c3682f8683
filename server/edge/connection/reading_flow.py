"""uvicorn's flow control, with a second reason not to read from a connection."""

from __future__ import annotations

from uvicorn.protocols.http.flow_control import FlowControl


class ReadingFlow(FlowControl):
    """Pauses reading while a body waits to be taken (uvicorn's reason) or ``hold`` is in force."""

    held = False

    def hold(self) -> None:
        """Read nothing until ``release``."""
        if not self.held:
            self.held = True
            if not self.read_paused:
                self._transport.pause_reading()

    def release(self) -> None:
        """Read on, unless a body waits."""
        if self.held:
            self.held = False
            if not self.read_paused:
                self._transport.resume_reading()

    def pause_reading(self) -> None:
        if not self.held:
            super().pause_reading()
        self.read_paused = True

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()
        self.read_paused = False
