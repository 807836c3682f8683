"""Count of the bytes that wait behind requests which are being answered."""

from __future__ import annotations

from whispergpt.server.ledger import Ledger, OwnLedger


class WaitingBytes:
    """Bytes behind requests, of all connections together.

    Args:
        most: their bound; None for no bound.
        ledger: has their number.
    """

    def __init__(self, most: int | None = None, ledger: Ledger | None = None) -> None:
        self.most = most
        self._number = (ledger or OwnLedger()).number("bytes", "behind requests")

    @property
    def total(self) -> int:
        """Return their number now."""
        return int(self._number.total)

    def change(self, difference: int) -> None:
        """Count so many more."""
        self._number.part += difference


class WaitingShare:
    """One connection's bytes in the count of all."""

    def __init__(self, everyone: WaitingBytes) -> None:
        self._everyone = everyone
        self._counted = 0

    def count(self, size: int) -> None:
        """Set the bytes that wait on this connection now."""
        self._everyone.change(size - self._counted)
        self._counted = size

    @property
    def too_much(self) -> bool:
        """Return whether all connections together are over the bound, and this one has some of the bytes."""
        most = self._everyone.most
        return most is not None and self._counted > 0 and self._everyone.total > most
