"""A continuation as it is generated, for asynchronous code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from whispergpt_client.arrays import to_array
from whispergpt_client.errors import WhisperGPTError, closed_early, refused_upgrade, timed_out, unreachable
from whispergpt_client.patience import Patience
from whispergpt_client.prompt import AsyncPrompt, async_chunks
from whispergpt_client.protocol import Phase, StreamProtocol
from whispergpt_client.request import CONNECT_SECONDS
from whispergpt_client.stream_state import StreamState
from whispergpt_client.transport import AsyncConnection, async_close, async_connect, async_receive, async_send

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class AsyncStream(StreamState[AsyncPrompt]):
    """An iterable of mono s16le audio as it comes; connects on ``async with`` or on the first item.

    Leaving it early (``close``, or the end of ``async with``) ends the response on the server too. If the connection is
    lost while the response plays, the stream connects again and goes on where the audio stopped. The model's streams
    must be resumable for that.
    """

    _connection: AsyncConnection | None = None

    async def __aenter__(self) -> AsyncStream:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the audio, to one reader.

        Raises:
            WhisperGPTError: the server refuses, fails, vanishes or is silent for too long, or the stream is being read.
        """
        with self._reading():
            await self.open()
            try:
                while self._protocol.phase is not Phase.DONE:
                    try:
                        audio = await self._receive()
                    except WhisperGPTError as lost:
                        await self._go_on(lost)
                        continue
                    if audio:
                        yield audio
            finally:
                await self.close()

    async def arrays(self) -> AsyncIterator[npt.NDArray[np.float32]]:
        """Yield the audio as float32 ``[n]`` from -1 to 1 (needs the extra ``numpy``)."""
        async for pcm in self:
            yield to_array(pcm)

    async def open(self) -> None:
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
                    await self._connect()
                    await self._receive_until(Phase.UPLOADING)
                    await self._upload()
                    await self._receive_until(Phase.PLAYING)
                    return
                except WhisperGPTError as error:
                    refused, pause = error, patience.wait_after(error)
                await self._disconnect()
                await asyncio.sleep(pause)
                if self._closed:
                    raise refused
                self._protocol = StreamProtocol(self._request)
        except BaseException:
            await self.close()
            raise

    async def cancel(self) -> None:
        """Ask the server to stop; audio already on its way still comes, then ``response`` says cancelled."""
        self._protocol.cancel()
        await self._send_outgoing()

    async def pause(self) -> None:
        """Pause the response after the audio that was sent; a paused response costs the server nothing."""
        self._protocol.pause(True)
        await self._send_outgoing()

    async def resume(self) -> None:
        """Go on after ``pause``, with the next sample."""
        self._protocol.pause(False)
        await self._send_outgoing()

    async def fork(self, seed: int | None = None) -> None:
        """Go on with another seed from the next frame that is generated; None draws a random seed."""
        self._protocol.fork(seed)
        await self._send_outgoing()

    async def change_sampling(
        self, temperature: float | None = None, top_k: int | None = None, top_p: float | None = None
    ) -> None:
        """Set what is not None for the frames generated from now on. Raises ValueError if a number is not finite."""
        self._protocol.change_sampling(temperature, top_k, top_p)
        await self._send_outgoing()

    async def close(self) -> None:
        """Close the connection and end what still plays."""
        self._closed = True
        await self._disconnect()

    async def _connect(self) -> None:
        self._check_closed()
        try:
            self._connection = await async_connect(self._url, self._headers, min(self._timeout, CONNECT_SECONDS))
        except InvalidStatus as error:
            raise refused_upgrade(self._url, error) from error
        except (OSError, WebSocketException, ImportError) as error:  # a proxy may need a package
            raise unreachable(self._url, error) from error
        self._check_closed()  # a close during the connecting closed only the connection before this one

    async def _go_on(self, lost: WhisperGPTError) -> None:
        """Connect again and resume the response. Raises the loss if the response cannot be resumed."""
        if self._closed:
            raise lost
        if self._protocol.finish():
            return
        pause = self._tries.begin(lost, self._protocol.checkpoint, self._protocol.frames)
        while True:
            await self._disconnect()
            await asyncio.sleep(pause)
            if self._closed:
                raise lost
            if self._protocol.finish():
                return
            self._protocol = StreamProtocol(self._request, self._protocol)
            try:
                await self._connect()
                await self._receive_until(Phase.PLAYING)
                await self._send_outgoing()
                return
            except WhisperGPTError as failed:
                pause = self._tries.wait_after(failed)

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await async_close(self._connection)

    async def _upload(self) -> None:
        try:
            async for chunk in async_chunks(self._prompt):
                await self._send(chunk)
        except ConnectionClosed:
            return  # the server's reason is among the messages that are still to be read
        self._protocol.uploaded()
        await self._send_outgoing()

    async def _receive_until(self, phase: Phase) -> None:
        while self._protocol.phase is not phase:
            await self._receive()

    async def _receive(self) -> bytes:
        patience = self._protocol.patience(self._timeout)
        try:
            message = await async_receive(self._connected(), patience)
        except TimeoutError:
            raise timed_out("message", patience) from None
        except ConnectionClosed as closed:
            raise closed_early(closed) from None
        audio = self._protocol.receive(message)
        await self._send_outgoing()
        return audio

    async def _send_outgoing(self) -> None:
        for message in self._protocol.take_outgoing():
            try:
                await self._send(message)
            except ConnectionClosed:
                return  # the next receive reads the server's reason

    async def _send(self, message: str | bytes) -> None:
        try:
            await async_send(self._connected(), message, self._timeout)
        except TimeoutError:
            raise timed_out("readiness to receive", self._timeout) from None

    def _connected(self) -> AsyncConnection:
        if self._connection is None:
            raise WhisperGPTError("usage_error", "not_open", "The stream is not open yet.")
        return self._connection
