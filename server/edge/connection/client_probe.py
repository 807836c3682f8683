"""Probes of a client that closed its side and may be gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

PROBE_SECONDS = 1.0
"""Seconds after which a client that sends nothing more is probed."""
_MOST_PROBE_SECONDS = 30.0
_SECOND_PROBE_SECONDS = 0.1
"""Seconds between two probes: after the first a client that is gone resets the connection, the second sees it."""
_PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientProbe:
    """Probes a client that closed its side: until the server sends, it looks the same as one that is gone.

    HTTP/1.0 has no interim answers: there a client whose answer does not begin in time counts as gone.

    Args:
        unanswered: returns the request of whose answer nothing was sent; None where there is none.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        unanswered: Callable[[], RequestResponseCycle | None],
    ) -> None:
        self._loop, self._transport, self._unanswered = loop, transport, unanswered
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Probe the client after ``PROBE_SECONDS``, then at longer and longer intervals, until ``stop``."""
        self._ask_after(PROBE_SECONDS)

    def stop(self) -> None:
        """Stop probing."""
        if self._timer is not None:
            self._timer.cancel()

    def _ask_after(self, seconds: float) -> None:
        waiting = self._unanswered()

        def ask() -> None:
            now = self._unanswered()
            if now is not None and now.scope["http_version"] == "1.0":
                if now is waiting:
                    self._transport.close()
                    return
            elif now is not None:
                self._transport.write(_PROBE)
                self._timer = self._loop.call_later(_SECOND_PROBE_SECONDS, ask_again)
                return
            self._ask_after(later)

        def ask_again() -> None:
            if self._unanswered() is not None:
                self._transport.write(_PROBE)
            self._ask_after(later)

        later = min(2 * seconds, _MOST_PROBE_SECONDS)
        self._timer = self._loop.call_later(seconds, ask)
