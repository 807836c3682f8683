# Written by generate_sync.py from async_stream.py: change that file, and run it again.
"""A continuation as it is generated, for synchronous code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from whispergpt_client.arrays import to_array
from whispergpt_client.errors import WhisperGPTError, closed_early, refused_upgrade, timed_out, unreachable
from whispergpt_client.patience import Patience
from whispergpt_client.prompt import Prompt, chunks
from whispergpt_client.protocol import Phase, StreamProtocol
from whispergpt_client.request import CONNECT_SECONDS
from whispergpt_client.stream_state import StreamState
from whispergpt_client.transport import Connection, close, connect, receive, send

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Stream(StreamState[Prompt]):
    """An iterable of mono s16le audio as it comes; connects on ``with`` or on the first item.

    Leaving it early (``close``, or the end of ``with``) ends the response on the server too. If the connection is
    lost while the response plays, the stream connects again and goes on where the audio stopped. The model's streams
    must be resumable for that.
    """

    _connection: Connection | None = None

    def __enter__(self) -> Stream:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the audio, to one reader.

        Raises:
            WhisperGPTError: the server refuses, fails, vanishes or is silent for too long, or the stream is being read.
        """
        with self._reading():
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
        """Yield the audio as float32 ``[n]`` from -1 to 1 (needs the extra ``numpy``)."""
        for pcm in self:
            yield to_array(pcm)

    def open(self) -> None:
        """Connect, send the prompt and wait until the response has begun; does nothing the second time.

        Raises:
            WhisperGPTError: the server refused or could not be reached, or the stream was closed.
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
                self._disconnect()
                time.sleep(pause)
                if self._closed:
                    raise refused
                self._protocol = StreamProtocol(self._request)
        except BaseException:
            self.close()
            raise

    def cancel(self) -> None:
        """Ask the server to stop; audio already on its way still comes, then ``response`` says cancelled.

        Another thread may call this.
        """
        self._protocol.cancel()
        self._send_outgoing()

    def pause(self) -> None:
        """Pause the response after the audio that was sent; a paused response costs the server nothing."""
        self._protocol.pause(True)
        self._send_outgoing()

    def resume(self) -> None:
        """Go on after ``pause``, with the next sample."""
        self._protocol.pause(False)
        self._send_outgoing()

    def fork(self, seed: int | None = None) -> None:
        """Go on with another seed from the next frame that is generated; None draws a random seed."""
        self._protocol.fork(seed)
        self._send_outgoing()

    def change_sampling(
        self, temperature: float | None = None, top_k: int | None = None, top_p: float | None = None
    ) -> None:
        """Set what is not None for the frames generated from now on. Raises ValueError if a number is not finite."""
        self._protocol.change_sampling(temperature, top_k, top_p)
        self._send_outgoing()

    def close(self) -> None:
        """Close the connection and end what still plays."""
        self._closed = True
        self._disconnect()

    def _connect(self) -> None:
        self._check_closed()
        try:
            self._connection = connect(self._url, self._headers, min(self._timeout, CONNECT_SECONDS))
        except InvalidStatus as error:
            raise refused_upgrade(self._url, error) from error
        except (OSError, WebSocketException, ImportError) as error:  # a proxy may need a package
            raise unreachable(self._url, error) from error
        self._check_closed()  # a close during the connecting closed only the connection before this one

    def _go_on(self, lost: WhisperGPTError) -> None:
        """Connect again and resume the response. Raises the loss if the response cannot be resumed."""
        if self._closed:
            raise lost
        if self._protocol.finish():
            return
        pause = self._tries.begin(lost, self._protocol.checkpoint, self._protocol.frames)
        while True:
            self._disconnect()
            time.sleep(pause)
            if self._closed:
                raise lost
            if self._protocol.finish():
                return
            self._protocol = StreamProtocol(self._request, self._protocol)
            try:
                self._connect()
                self._receive_until(Phase.PLAYING)
                self._send_outgoing()
                return
            except WhisperGPTError as failed:
                pause = self._tries.wait_after(failed)

    def _disconnect(self) -> None:
        if self._connection is not None:
            close(self._connection)

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
            message = receive(self._connected(), patience)
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
        try:
            send(self._connected(), message, self._timeout)
        except TimeoutError:
            raise timed_out("readiness to receive", self._timeout) from None

    def _connected(self) -> Connection:
        if self._connection is None:
            raise WhisperGPTError("usage_error", "not_open", "The stream is not open yet.")
        return self._connection
