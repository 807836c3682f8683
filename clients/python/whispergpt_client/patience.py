"""Asking again where a server has no room at the moment and says when it may."""

from __future__ import annotations

import time

from whispergpt_client.errors import WhisperGPTError


class Patience:
    """For one request.

    Args:
        seconds: how long to wait in all; 0 asks once.
    """

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def wait_after(self, refused: WhisperGPTError) -> float:
        """Seconds after which to ask again, as the server said.

        Raises:
            WhisperGPTError: what was refused: the server did not say when, or that is too late.
        """
        if refused.retry_after is None or time.monotonic() + refused.retry_after > self._until:
            raise refused
        return refused.retry_after
