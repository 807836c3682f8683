"""Bounds and counts that all HTTP connections of one server share."""

from __future__ import annotations

from dataclasses import dataclass, field

from whispergpt.server.edge.connection.request_turns import RequestTurns
from whispergpt.server.edge.connection.waiting_bytes import WaitingBytes


@dataclass(frozen=True)
class SharedBounds:
    """Bounds of one server, which every connection is made with.

    Attributes:
        most_connections: bound on connections of all kinds at once; None for no bound.
        body_seconds: seconds for the rest of a body whose request is answered already.
        waiting: bytes behind requests that are being answered, of all connections.
        turns: order in which their requests begin.
    """

    most_connections: int | None = None
    body_seconds: float = 120.0
    waiting: WaitingBytes = field(default_factory=WaitingBytes)
    turns: RequestTurns = field(default_factory=RequestTurns)
