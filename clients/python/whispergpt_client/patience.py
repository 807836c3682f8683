"""Waiting for a server that has no room at the moment and says when to ask again."""

from __future__ import annotations

import time

from whispergpt_client.errors import WhisperGPTError


class Patience:
    """Time limit for asking again with one request.

    Args:
        seconds: total time to wait; 0 asks once.
    """

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def wait_after(self, refused: WhisperGPTError) -> float:
        """Return the seconds after which to ask again, as the server said.

        Raises:
            WhisperGPTError: the refusal, if the server did not say when, or if that is too late.
        """
        if refused.retry_after is None or time.monotonic() + refused.retry_after > self._until:
            raise refused
        return refused.retry_after
