"""The error that ends ``whispergpt serve``."""

from __future__ import annotations


class ServeError(Exception):
    """The server could not start or go on; the message is for the user, the process exits with ``status``."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
