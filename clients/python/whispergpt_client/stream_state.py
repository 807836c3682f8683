"""State of a stream that asynchronous and synchronous code share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Generic, TypeVar

from whispergpt_client.errors import WhisperGPTError
from whispergpt_client.prompt import AsyncPrompt, is_file
from whispergpt_client.protocol import StreamProtocol, StreamRequest
from whispergpt_client.resumption import Resumption

PromptT = TypeVar("PromptT", bound=AsyncPrompt)


class StreamState(Generic[PromptT]):
    """State of a stream, over all its connections.

    Args:
        resume_seconds: how long to try to resume after the connection is lost; 0 does not try.
        retry_seconds: how long to keep asking while the server has no room at first; 0 asks once.
    """

    def __init__(
        self,
        url: str,
        prompt: PromptT,
        request: StreamRequest,
        headers: dict[str, str],
        timeout: float,
        resume_seconds: float,
        retry_seconds: float,
    ) -> None:
        self._url, self._headers = url, headers
        self._prompt, self._request = prompt, request
        self._timeout, self._tries = timeout, Resumption(resume_seconds)
        self._retry_seconds = retry_seconds if is_file(prompt) else 0.0  # chunks cannot be sent twice
        self._protocol = StreamProtocol(request)
        self._closed = False
        self._reader = Lock()

    @property
    def session(self) -> dict[str, Any]:
        """Session as the server described it: model, sample_rate, fingerprint, …; empty before that."""
        return self._protocol.session

    @property
    def response(self) -> dict[str, Any] | None:
        """Result: status, frames, seed, time_to_first_audio_ms, realtime_factor; None until the last audio has come."""
        return self._protocol.response

    @property
    def feed_token(self) -> str | None:
        """Token with which anybody listens to the response by ``Client.listen``; None without a feed.

        A response that is resumed after a lost connection has another token.
        """
        return self._protocol.feed_token

    @property
    def refusal(self) -> WhisperGPTError | None:
        """Error of the last change that the server refused while the response played, such as a temperature of 9."""
        return self._protocol.refusal

    @property
    def frames(self) -> int:
        """Frames received so far, over all connections."""
        return self._protocol.frames

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Give the stream to one reader at a time. Raises WhisperGPTError if another has it."""
        if not self._reader.acquire(blocking=False):
            told = "The stream is being read already; make another stream for another reader."
            raise WhisperGPTError("usage_error", "in_use", told)
        try:
            yield
        finally:
            self._reader.release()

    def _check_closed(self) -> None:
        if self._closed:
            raise WhisperGPTError("connection_error", "closed", "The stream was closed before it was connected.")
