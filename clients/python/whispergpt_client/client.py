"""The synchronous client."""

from __future__ import annotations

import time
from types import TracebackType

import httpx

from whispergpt_client.continuation import Continuation
from whispergpt_client.errors import WhisperGPTError, timed_out, unreachable
from whispergpt_client.model import Model
from whispergpt_client.patience import Patience
from whispergpt_client.prompt import Prompt
from whispergpt_client.protocol import Pace, StreamRequest
from whispergpt_client.request import (
    File,
    ResponseFormat,
    base_url,
    continue_fields,
    key_headers,
    parse_continuation,
    parse_models,
    parse_ready,
    read_file,
    stream_url,
    timeouts,
)
from whispergpt_client.stream import Stream


class Client:
    """Talks to one server; safe to use from several threads.

    Args:
        url: ``http://host:port`` or https.
        timeout: seconds to wait for the server's next byte, or for it to take one.
        api_key: where the server asks for one; None takes that of the environment's ``WHISPERGPT_API_KEY``, if any.

    Raises:
        ValueError: the URL is not one, or the key cannot be.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", timeout: float = 120.0, api_key: str | None = None) -> None:
        self._url = base_url(url)
        self._timeout = timeout
        self._headers = key_headers(api_key)
        self._http = httpx.Client(base_url=self._url, timeout=timeouts(timeout), headers=self._headers)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections kept for HTTP; streams close themselves."""
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
        """Send a recording and wait for the whole continuation of it; what is None is left to the server.

        Args:
            retry_seconds: for how long to ask again where the server has no room, and says when it may have.

        Raises:
            WhisperGPTError: the server refused, failed, or could not be reached.
            OSError: the file cannot be read.
        """
        fields = continue_fields(
            seconds=seconds,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            model=model,
            include_prompt=include_prompt,
            response_format=response_format,
        )
        file, patience = read_file(path_or_bytes), Patience(retry_seconds)
        while True:
            try:
                return parse_continuation(self._request("POST", "/continue", fields, file))
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
    ) -> Stream:
        """Continue a recording and iterate over the audio while it is generated.

        Args:
            prompt: a path, the bytes of a file, or an iterable of chunks, which are sent as they come.
            seconds: of audio to generate; None until cancelled.
            pace: ``realtime`` stays at most 2 s ahead of playback, ``fast`` comes as fast as it can.
            sample_rate: set where the prompt is raw mono s16le samples, at this rate; unset where it is a file.
            resume_seconds: for how long to try to go on where a lost connection left off; 0 does not.
            retry_seconds: for how long to ask again where the server has no room, and says when it may have; not for a
                prompt that comes in chunks.

        Raises:
            ValueError: a number is not finite, or ``seconds`` are not above 0.
        """
        request = StreamRequest(
            seconds=seconds,
            pace=pace,
            sample_rate=sample_rate,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            model=model,
        )
        patience = (self._timeout, resume_seconds, retry_seconds)
        return Stream(stream_url(self._url), prompt, request, self._headers, *patience)

    def models(self) -> list[Model]:
        """The models that the server has, its default first. Raises WhisperGPTError."""
        return parse_models(self._request("GET", "/v1/models"))

    def ready(self) -> bool:
        """Whether every model has generated and requests are taken. Raises WhisperGPTError where nothing answers."""
        return parse_ready(self._request("GET", "/health/ready"))

    def _request(
        self, method: str, path: str, fields: dict[str, str] | None = None, file: tuple[str, bytes] | None = None
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, data=fields, files=None if file is None else {"audio": file})
        except httpx.TimeoutException as error:
            raise timed_out("answer", self._timeout) from error
        except httpx.HTTPError as error:
            raise unreachable(self._url, error) from error
