"""Bounds and counts that all HTTP connections of one server share."""

from __future__ import annotations

from dataclasses import dataclass, field

from whispergpt.server.edge.connection.request_turns import RequestTurns, pipelined_turns
from whispergpt.server.edge.connection.waiting_bytes import WaitingBytes


@dataclass(frozen=True)
class SharedBounds:
    """Bounds of one server, which every connection is made with.

    Attributes:
        most_connections: bound on connections of all kinds at once; None for no bound.
        body_seconds: seconds for the rest of a body whose request is answered already.
        waiting: bytes behind requests that are being answered, of all connections.
        turns: order in which their requests begin.
        pipelined_turns: order of requests that came while an earlier one of their connection was being answered.
    """

    most_connections: int | None = None
    body_seconds: float = 120.0
    waiting: WaitingBytes = field(default_factory=WaitingBytes)
    turns: RequestTurns = field(default_factory=RequestTurns)
    pipelined_turns: RequestTurns = field(default_factory=pipelined_turns)
