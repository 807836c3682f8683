"""Bound on open connections, and the addresses that connections beyond it may ask for."""

from __future__ import annotations

from collections.abc import Sized

from whispergpt.server.errors import ApiError

HEAD_SECONDS = 20.0
MOST_BEYOND = 16
"""Connections beyond the bound whose requests are parsed."""
ALWAYS_ANSWERED = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Addresses that connections beyond the bound get too: a full server must not be killed and started anew."""
_PROBE_HEAD_SECONDS = 2.0
_FULL_RETRY_SECONDS = 5


class ConnectionBound:
    """The bound as a new connection finds it.

    Args:
        connections: all that are open, the new one included.
        most: how many there may be; None for no bound.

    Attributes:
        refuses: whether the new connection is closed without parsing.
        beyond: whether the connection is beyond the bound.
    """

    def __init__(self, connections: Sized, most: int | None) -> None:
        self._connections, self._most = connections, most
        self.refuses = self._excess > MOST_BEYOND
        self.beyond = self._excess > 0

    @property
    def head_seconds(self) -> float:
        """Seconds in which the connection's next head must have come."""
        return _PROBE_HEAD_SECONDS if self.beyond else HEAD_SECONDS

    def serves(self, path: str) -> bool:
        """Return whether a request for this path may be answered now."""
        return path in ALWAYS_ANSWERED or not (self.beyond and self._excess)

    def full(self) -> ApiError:
        """Return the refusal of a request that may not be answered."""
        told = f"{self._most} connections are open already; try again in {_FULL_RETRY_SECONDS} s."
        return ApiError(503, "too_many_connections", told, retry_after=_FULL_RETRY_SECONDS)

    @property
    def _excess(self) -> int:
        """Number of connections beyond the bound."""
        return 0 if self._most is None else max(0, len(self._connections) - self._most)
