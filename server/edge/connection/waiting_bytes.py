"""Count of the bytes that wait behind requests which are being answered."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class WaitingBytes:
    """Bytes behind requests, of all connections together.

    Attributes:
        most: their bound; None for no bound.
        total: their number now.
    """

    most: int | None = None
    total: int = 0


class WaitingShare:
    """One connection's bytes in the count of all."""

    def __init__(self, everyone: WaitingBytes) -> None:
        self._everyone = everyone
        self._counted = 0

    def count(self, size: int) -> None:
        """Set the bytes that wait on this connection now."""
        self._everyone.total += size - self._counted
        self._counted = size

    @property
    def too_much(self) -> bool:
        """Return whether all connections together are over the bound, and this one has some of the bytes."""
        most = self._everyone.most
        return most is not None and self._counted > 0 and self._everyone.total > most
