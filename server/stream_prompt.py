"""The prompt of one session: collected, streamed into the engine while it arrives, committed, cleared."""

from __future__ import annotations

import time
from typing import Literal

from engine.audio_file import AudioError
from engine.config import FRAME_RATE, SAMPLE_RATE
from engine.messages import ModelInfo
from server.admission import require_size
from server.audio_io import PcmPrompt, seconds_of
from server.caller import Caller
from server.engine_handles import PromptHandle
from server.errors import ApiError, from_audio, wrong_order
from server.held_bytes import ConnectionBytes
from server.services import Services
from server.stream_events import InputFormat

_PIECE_BYTES = 131_072
"""Of PCM at a time in the threads that listeners wait for too: a millisecond of work."""


class SessionPrompt:
    """Empty, then collecting, then committed. A prompt that is refused is forgotten: the next starts from nothing.

    Its seconds are paid for: a file's when it is committed, those of PCM as they come.

    Attributes:
        unused: whether it is committed and paid for, and no response has been made of it.
        began: when its first audio came (``time.monotonic``); None where none has, or it is committed.
    """

    def __init__(self, services: Services, caller: Caller, held: ConnectionBytes) -> None:
        self.state: Literal["empty", "collecting", "committed"] = "empty"
        self.unused = False
        self.began: float | None = None
        self._services, self._caller, self._held = services, caller, held
        self._file = bytearray()
        self._pcm: PcmPrompt | None = None
        self._pcm_bytes = 0
        self._handle: PromptHandle | None = None

    async def add(self, data: bytes, model: ModelInfo, kind: InputFormat, rate: int) -> None:
        """More of the prompt.

        Raises:
            ApiError: the prompt is committed, too large, too long, or the engine is gone.
        """
        if self.state == "committed":
            raise wrong_order("The prompt is committed; send input_audio_buffer.clear before another.")
        if self.state == "empty":
            self.state, self.began = "collecting", time.monotonic()
        if not data:
            return
        try:
            if kind == "file":
                require_size(len(self._file) + len(data), self._services.settings.max_upload_bytes)
                self._held.keep(len(data))
                self._file += data
            else:
                await self._add_pcm(data, model, rate)
        except ApiError:
            self.clear()
            raise
        except AudioError as error:
            self.clear()
            raise from_audio(error) from None

    async def commit(self, model: ModelInfo, kind: InputFormat) -> float:
        """Encode what came; returns its seconds.

        Raises:
            ApiError: there is nothing to commit, or it cannot be used.
        """
        if self.state == "committed":
            raise wrong_order("The prompt is committed already; send response.create, or input_audio_buffer.clear.")
        try:
            if self._pcm is not None and self._handle is not None:
                rest, _ = await self._services.live.run(self._pcm.finish)
            elif kind == "file":
                rest = await self._services.decoders.decode(self._file, self._caller)
                self._caller.pay(seconds_of(rest))
                self._handle = self._services.supervisor.link().open_prompt(model, self._caller.identity)
            else:
                told = "There is no audio to commit: send the prompt as binary messages first."
                raise ApiError(415, "empty_audio", told, "audio")
            async with self._caller.prompt_turn():
                ready = await self._handle.finish(rest, self._services.tracing)
            seconds = ready.frames / FRAME_RATE
            if ready.known:
                self._caller.pay_back(seconds)
            self._held.hold_prompt(_kept_bytes(seconds))
        except AudioError as error:
            self.clear()
            raise from_audio(error) from None
        except ApiError:
            self.clear()
            raise
        self.state, self.unused, self.began = "committed", True, None
        self._file, self._pcm = bytearray(), None
        return seconds

    def committed(self) -> PromptHandle:
        """The committed prompt, to continue.

        Raises:
            ApiError: there is none.
        """
        if self.state != "committed" or self._handle is None:
            raise wrong_order("There is no committed prompt: send audio, then input_audio_buffer.commit.")
        return self._handle

    def clear(self) -> None:
        """Forget everything; streams started from the prompt go on."""
        if self._handle is not None:
            self._handle.close()
        self._handle, self._pcm, self._file, self._pcm_bytes = None, None, bytearray(), 0
        self._held.hold_prompt(0)
        self.state, self.unused, self.began = "empty", False, None

    async def _add_pcm(self, data: bytes, model: ModelInfo, rate: int) -> None:
        self._pcm = self._pcm or PcmPrompt(rate)
        self._pcm.require_room(len(data))
        if self._handle is None:
            self._handle = self._services.supervisor.link().open_prompt(model, self._caller.identity)
        for at in range(0, len(data), _PIECE_BYTES):
            if samples := await self._services.live.run(self._pcm.push, data[at : at + _PIECE_BYTES]):
                self._caller.charge(seconds_of(samples))
                self._pcm_bytes += _kept_bytes(seconds_of(samples))
                self._held.hold_prompt(self._pcm_bytes)
                await self._handle.append(samples)


def _kept_bytes(seconds: float) -> int:
    """Return what the engine keeps of so many seconds of a prompt: 16-bit samples, beside which all else is little."""
    return round(seconds * SAMPLE_RATE) * 2
