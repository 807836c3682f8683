# Written by generate_sync.py from async_client.py: change that file, and run it again.
"""Client of one server, for synchronous code."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx

from whispergpt_client import request
from whispergpt_client.continuation import Continuation
from whispergpt_client.errors import WhisperGPTError
from whispergpt_client.model import Model
from whispergpt_client.patience import Patience
from whispergpt_client.prompt import Prompt
from whispergpt_client.protocol import LONGEST_PAUSE, Pace, StreamRequest
from whispergpt_client.request import File, ResponseFormat
from whispergpt_client.stream import Stream


class Client:
    """A client of one server. Several threads may share it.

    Args:
        url: ``http://host:port`` or https.
        timeout: seconds to wait until the server sends a byte, or takes one.
        api_key: the key, if the server asks for one; None reads ``WHISPERGPT_API_KEY`` from the environment.

    Raises:
        ValueError: the URL is not an http or https URL, the key has characters that no key has, ``timeout`` is not
            above 0, or the environment names a proxy for which a package is missing.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", timeout: float = 120.0, api_key: str | None = None) -> None:
        self._url = request.base_url(url)
        self._timeout = timeout
        self._headers = request.key_headers(api_key)
        try:
            self._http = httpx.Client(**request.options(self._url, timeout, self._headers))
        except ImportError as error:
            raise request.without_proxy(error) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the HTTP connections; streams close their own."""
        self._http.close()

    def continue_file(
        self,
        path_or_bytes: File,
        seconds: float = 5,
        seed: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        model: str | None = None,
        include_prompt: bool = False,
        response_format: ResponseFormat = "wav",
        retry_seconds: float = 0.0,
    ) -> Continuation:
        """Send a recording and return its whole continuation; the server chooses each parameter that is None.

        Args:
            retry_seconds: how long to keep asking while the server has no room and says when to ask again.

        Raises:
            WhisperGPTError: the server refused, failed, or could not be reached.
            OSError: the file cannot be read.
            ValueError: the prompt is no file, or one opened as text.
        """
        fields = request.continue_fields(
            seconds=seconds,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            model=model,
            include_prompt=include_prompt,
            response_format=response_format,
        )
        file, patience = request.read_file(path_or_bytes), Patience(retry_seconds)
        while True:
            try:
                return request.parse_continuation(self._request("POST", "/continue", fields, file))
            except WhisperGPTError as refused:
                time.sleep(patience.wait_after(refused))

    def stream(
        self,
        prompt: Prompt,
        seconds: float | None = 5,
        pace: Pace = "realtime",
        sample_rate: int | None = None,
        seed: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        model: str | None = None,
        resume_seconds: float = 60.0,
        retry_seconds: float = 0.0,
        feed: bool = False,
    ) -> Stream:
        """Return a stream of a recording's continuation, to iterate over while it is generated.

        Args:
            prompt: a path, the bytes of a file, an open file, or an iterable of chunks, which are sent as they come.
            seconds: length of the audio to generate; None generates until cancelled.
            pace: ``realtime`` sends at most 2 s ahead of playback, ``fast`` as fast as the server can.
            sample_rate: rate of a prompt that is raw mono s16le samples; None if the prompt is a file.
            resume_seconds: how long to try to resume after the connection is lost; 0 does not try.
            retry_seconds: how long to keep asking while the server has no room and says when to ask again; ignored for
                an open file and chunks, which cannot be sent twice.
            feed: whether others can listen to it, with the stream's ``feed_token``; needs the pace ``realtime``.

        Raises:
            ValueError: a number is not finite, or ``seconds`` is not above 0.
        """
        wanted = StreamRequest(
            seconds=seconds,
            pace=pace,
            sample_rate=sample_rate,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            model=model,
            feed=feed,
        )
        patience = (self._timeout, resume_seconds, retry_seconds)
        return Stream(request.stream_url(self._url), prompt, wanted, self._headers, *patience)

    def listen(
        self, feed_token: str, response_format: ResponseFormat = "pcm", from_seconds: float | None = None
    ) -> Iterator[bytes]:
        """Yield the audio of somebody's response as it comes, to its end; a key is not needed.

        Args:
            feed_token: the ``feed_token`` of the owner's stream.
            response_format: ``pcm`` is mono s16le at 24 kHz; the other formats are those of files.
            from_seconds: second of the response to begin with, which the server must have kept; None begins where the
                owner is.

        Raises:
            WhisperGPTError: the server refused, could not be reached, or cut the audio off.
        """
        path, query = request.feed_request(feed_token, response_format, from_seconds)
        patience = request.timeouts(self._timeout, paused=LONGEST_PAUSE)
        try:
            with self._http.stream("GET", path, params=query, timeout=patience) as answer:
                if not answer.is_success:
                    answer.read()
                request.raise_for_error(answer)
                pieces = request.Pieces(response_format)
                for audio in answer.iter_bytes():
                    if whole := pieces.whole(audio):
                        yield whole
        except httpx.HTTPError as error:
            raise request.failed(self._url, "audio", patience, error) from error

    def models(self) -> list[Model]:
        """Return the server's models, its default first. Raises WhisperGPTError."""
        return request.parse_models(self._request("GET", "/v1/models"))

    def ready(self) -> bool:
        """Return whether the server takes requests, each model having generated. Raises WhisperGPTError."""
        return request.parse_ready(self._request("GET", "/health/ready"))

    def _request(
        self, method: str, path: str, fields: dict[str, str] | None = None, file: tuple[str, bytes] | None = None
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, data=fields, files=None if file is None else {"audio": file})
        except httpx.HTTPError as error:
            raise request.failed(self._url, "answer", request.timeouts(self._timeout), error) from error
