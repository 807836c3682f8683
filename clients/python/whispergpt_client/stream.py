"""A continuation as it is generated, for synchronous code."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from whispergpt_client.arrays import to_array
from whispergpt_client.errors import WhisperGPTError, closed_early, closed_here, refused_upgrade, timed_out, unreachable
from whispergpt_client.patience import Patience
from whispergpt_client.prompt import Prompt, chunks, is_file
from whispergpt_client.protocol import Phase, StreamProtocol, StreamRequest
from whispergpt_client.request import CONNECT_SECONDS
from whispergpt_client.resumption import Resumption

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Stream:
    """Iterate over it for mono s16le audio, as it comes; connects on ``with`` or on the first item.

    Leaving it early (``close``, or the end of ``with``) ends the response on the server too. A connection that is lost
    while it plays is made anew, and the audio goes on where it stopped, if the model's streams can be resumed.

    Args:
        resume_seconds: for how long to try that; 0 does not.
        retry_seconds: for how long to ask again where there is no room at first; 0 does not.
    """

    def __init__(
        self,
        url: str,
        prompt: Prompt,
        request: StreamRequest,
        headers: dict[str, str],
        timeout: float,
        resume_seconds: float,
        retry_seconds: float,
    ) -> None:
        self._url, self._headers = url, headers
        self._prompt, self._request = prompt, request
        self._timeout, self._tries = timeout, Resumption(resume_seconds)
        self._retry_seconds = retry_seconds if is_file(prompt) else 0.0  # what was spoken is not spoken again
        self._protocol = StreamProtocol(request)
        self._closed = False
        self._connection: ClientConnection | None = None
        self._open = ExitStack()

    @property
    def session(self) -> dict[str, Any]:
        """The session as the server described it: model, sample_rate, fingerprint, …; empty before it has."""
        return self._protocol.session

    @property
    def response(self) -> dict[str, Any] | None:
        """status, frames, seed, time_to_first_audio_ms and realtime_factor; None until the last audio has come."""
        return self._protocol.response

    @property
    def refusal(self) -> WhisperGPTError | None:
        """The server's last no to a wish while the response played, such as a temperature that there is not."""
        return self._protocol.refusal

    @property
    def frames(self) -> int:
        """Received so far, whatever connections they came over."""
        return self._protocol.frames

    def __enter__(self) -> Stream:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        """Raises WhisperGPTError where the server refuses, fails, vanishes or is silent for too long."""
        self.open()
        try:
            while self._protocol.phase is not Phase.DONE:
                try:
                    audio = self._receive()
                except WhisperGPTError as lost:
                    self._go_on(lost)
                    continue
                if audio:
                    yield audio
        finally:
            self.close()

    def arrays(self) -> Iterator[npt.NDArray[np.float32]]:
        """The same audio as float32 ``[n]`` from -1 to 1 (the extra ``numpy``)."""
        for pcm in self:
            yield to_array(pcm)

    def open(self) -> None:
        """Connect and send the prompt until the response has begun; does nothing the second time.

        Raises:
            WhisperGPTError: the server refused, or could not be reached; or the stream was closed.
            OSError: the prompt's file cannot be read.
        """
        if self._connection is not None:
            return
        patience = Patience(self._retry_seconds)
        try:
            while True:
                try:
                    self._connect()
                    self._receive_until(Phase.UPLOADING)
                    self._upload()
                    self._receive_until(Phase.PLAYING)
                    return
                except WhisperGPTError as error:
                    refused, pause = error, patience.wait_after(error)
                self._open.close()
                time.sleep(pause)
                if self._closed:
                    raise refused
                self._protocol = StreamProtocol(self._request)
        except BaseException:
            self.close()
            raise

    def cancel(self) -> None:
        """Ask the server to stop; the audio that was on its way still comes, then ``response`` says cancelled.

        May be called from another thread.
        """
        self._protocol.cancel()
        self._send_outgoing()

    def pause(self) -> None:
        """Stop the response after the audio that was sent; it costs the server nothing meanwhile."""
        self._protocol.pause(True)
        self._send_outgoing()

    def resume(self) -> None:
        """Go on after ``pause``, with the next sample."""
        self._protocol.pause(False)
        self._send_outgoing()

    def fork(self, seed: int | None = None) -> None:
        """Go on with another seed, a random one where None, from the next frame that is made."""
        self._protocol.fork(seed)
        self._send_outgoing()

    def change_sampling(
        self, temperature: float | None = None, top_k: int | None = None, top_p: float | None = None
    ) -> None:
        """Have the next frames drawn differently, in what is not None. Raises ValueError where one is not finite."""
        self._protocol.change_sampling(temperature, top_k, top_p)
        self._send_outgoing()

    def close(self) -> None:
        """Close the connection, and with it whatever still plays."""
        self._closed = True
        self._open.close()

    def _connect(self) -> None:
        self._check_closed()
        # Pings are left to the server: a reader at playback speed may lawfully be far behind what has arrived.
        within = min(self._timeout, CONNECT_SECONDS)
        try:
            connecting = connect(self._url, open_timeout=within, ping_interval=None, additional_headers=self._headers)
            self._connection = self._open.enter_context(connecting)
        except InvalidStatus as error:
            raise refused_upgrade(self._url, error) from error
        except (OSError, WebSocketException) as error:
            raise unreachable(self._url, error) from error
        self._check_closed()  # meanwhile, which could close no more than the connection before this one

    def _check_closed(self) -> None:
        if self._closed:
            raise closed_here()

    def _go_on(self, lost: WhisperGPTError) -> None:
        """Connect anew and resume; raises what was lost where that cannot be."""
        if self._closed:
            raise lost
        if self._protocol.whole:
            self._protocol.finish()
            return
        pause = self._tries.begin(lost, self._protocol.checkpoint, self._protocol.frames)
        while True:
            self._open.close()
            time.sleep(pause)
            if self._closed:
                raise lost
            self._protocol = StreamProtocol(self._request, self._protocol)
            try:
                self._connect()
                self._receive_until(Phase.PLAYING)
                self._send_outgoing()
                return
            except WhisperGPTError as failed:
                pause = self._tries.wait_after(failed)

    def _upload(self) -> None:
        try:
            for chunk in chunks(self._prompt):
                self._send(chunk)
        except ConnectionClosed:
            return  # the server's reason is among the messages that are still to be read
        self._protocol.uploaded()
        self._send_outgoing()

    def _receive_until(self, phase: Phase) -> None:
        while self._protocol.phase is not phase:
            self._receive()

    def _receive(self) -> bytes:
        patience = self._protocol.patience(self._timeout)
        try:
            message = self._connected().recv(patience)
        except TimeoutError:
            raise timed_out("message", patience) from None
        except ConnectionClosed as closed:
            raise closed_early(closed) from None
        audio = self._protocol.receive(message)
        self._send_outgoing()
        return audio

    def _send_outgoing(self) -> None:
        for message in self._protocol.take_outgoing():
            try:
                self._send(message)
            except ConnectionClosed:
                return  # the next receive reads the server's reason

    def _send(self, message: str | bytes) -> None:
        connection = self._connected()
        # The library's send waits without a bound; messages are small enough to fit once the socket takes data again.
        with selectors.DefaultSelector() as selector:
            selector.register(connection.socket, selectors.EVENT_WRITE)
            if not selector.select(self._timeout):
                raise timed_out("readiness to receive", self._timeout)
        connection.send(message)

    def _connected(self) -> ClientConnection:
        if self._connection is None:
            raise WhisperGPTError("usage_error", "not_open", "The stream is not open yet.")
        return self._connection
