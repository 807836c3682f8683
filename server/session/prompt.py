"""The prompt of one session: collected, streamed into the engine while it arrives, committed, cleared."""

from __future__ import annotations

import time
from typing import Literal

from whispergpt.engine.audio.audio_file import AudioError
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.stream_plan import Pace
from whispergpt.server.access.caller import Caller
from whispergpt.server.admission.admission import require_size
from whispergpt.server.admission.held_bytes import ConnectionBytes
from whispergpt.server.audio.audio_io import PcmPrompt, seconds_of
from whispergpt.server.errors import ApiError, from_audio, wrong_order
from whispergpt.server.link.engine_link import EngineLink
from whispergpt.server.link.prompt_handle import PromptHandle
from whispergpt.server.services import Services
from whispergpt.server.session.events import InputFormat
from whispergpt.server.session.options import StreamOptions

_PIECE_BYTES = 131_072
"""Bytes of PCM converted at a time, a millisecond of work, because listeners wait for the same threads."""


class SessionPrompt:
    """A prompt that is empty, then collecting, then committed. A refused prompt is forgotten.

    Its seconds are paid for: a file's at the commit, those of PCM as they come. A prompt that came too late stays
    forgotten until it is cleared or committed, so that its rest does not count as another.

    Attributes:
        paid_seconds: paid for it, until a response has been made of it; 0 where nothing is.
        began: time of its first audio (``time.monotonic``); None before, and once it is committed.
    """

    def __init__(self, services: Services, caller: Caller, held: ConnectionBytes) -> None:
        self.state: Literal["empty", "collecting", "committed", "forgotten"] = "empty"
        self.paid_seconds = 0.0
        self.began: float | None = None
        self._services, self._caller, self._held = services, caller, held
        self._file = bytearray()
        self._decoded: bytes | None = None
        self._pcm: PcmPrompt | None = None
        self._pcm_bytes = 0
        self._handle: PromptHandle | None = None

    @property
    def link(self) -> EngineLink | None:
        """Return the link to the engine that has the prompt; None before one is chosen."""
        return None if self._handle is None else self._handle.link

    async def add(self, data: bytes, options: StreamOptions) -> None:
        """Add bytes to the prompt.

        Raises:
            ApiError: the prompt is committed, too large, too long, too late, or the engine is gone.
        """
        if self.state == "forgotten":
            raise self.too_late()
        if self.state == "committed":
            raise wrong_order("The prompt is committed; send input_audio_buffer.clear before another.")
        if self.state == "empty":
            self.state, self.began = "collecting", time.monotonic()
        if not data:
            return
        try:
            if options.input_format == "file":
                require_size(len(self._file) + len(data), self._services.settings.max_upload_bytes)
                self._held.keep(len(data))
                self._file += data
            else:
                await self._add_pcm(data, options)
        except ApiError:
            self.clear()
            raise
        except AudioError as error:
            self.clear()
            raise from_audio(error) from None

    async def decode(self, kind: InputFormat) -> None:
        """Decode a file that came, and pay for its seconds; PCM is decoded as it comes.

        Raises:
            ApiError: there is nothing to commit, or it cannot be used. Where there is no room now, the file is kept.
        """
        if self.state == "forgotten":
            self.clear()
            raise self.too_late()
        if self.state == "committed":
            raise wrong_order("The prompt is committed already; send response.create, or input_audio_buffer.clear.")
        if kind != "file" or self._pcm is not None or self._decoded is not None:
            return
        try:
            decoded = await self._services.decoders.decode(self._file, self._caller)
            self._held.hold_prompt(max(len(self._file), len(decoded)))
            self._caller.pay(seconds_of(decoded))
        except ApiError as error:
            if error.status not in (429, 503):
                self.clear()
            raise
        self.paid_seconds = seconds_of(decoded)
        self._decoded, self._file = decoded, bytearray()

    async def commit(self, link: EngineLink, model: ModelInfo, pace: Pace) -> float:
        """Encode the decoded prompt on the engine of ``link``, or the one that has it already; returns its seconds.
        Audio that the server failed to encode costs nothing.

        Raises:
            ApiError: there is nothing to commit, or it cannot be used.
        """
        try:
            rest = await self._rest()
            self._handle = self._handle or link.open_prompt(model, self._caller)
            async with self._services.precedence.prompt_turn(self._caller):
                await self._handle.append(rest)
                self._decoded = None
                kept = _kept_bytes(self._pcm_bytes + len(rest))
                del rest
                self._held.hold_prompt(kept)
                patience = self._services.settings.patience(pace)
                ready = await self._handle.commit(self._services.tracing, patience=patience)
            if ready.known:
                self._pay_back()
        except AudioError as error:
            self.clear()
            raise from_audio(error) from None
        except ApiError as error:
            if error.status >= 500 or error.status == 429:
                self._pay_back()
            self.clear()
            raise
        self.state, self.began, self._pcm = "committed", None, None
        return ready.frames / FRAME_RATE

    def committed(self) -> PromptHandle:
        """Return the committed prompt.

        Raises:
            ApiError: there is none.
        """
        if self.state != "committed" or self._handle is None:
            raise wrong_order("There is no committed prompt: send audio, then input_audio_buffer.commit.")
        return self._handle

    def clear(self) -> None:
        """Forget everything; streams of the prompt go on. Audio that was decoded and not encoded costs nothing."""
        if self._decoded is not None:
            self._pay_back()
        if self._handle is not None:
            self._handle.close()
        self._handle, self._pcm, self._file, self._decoded, self._pcm_bytes = None, None, bytearray(), None, 0
        self._held.hold_prompt(0)
        self.state, self.paid_seconds, self.began = "empty", 0.0, None

    def forget(self) -> None:
        """Forget a prompt that was not committed in time, with the bytes that still come of it."""
        self.clear()
        self.state = "forgotten"

    def too_late(self) -> ApiError:
        """Return the error for a prompt that was not committed in time."""
        told = (
            f"The prompt was not committed within {self._services.settings.prompt_seconds:g} s of its first audio, "
            "and is forgotten; send input_audio_buffer.clear, and the prompt again."
        )
        return ApiError(408, "prompt_timeout", told, "audio")

    def _pay_back(self) -> None:
        self._caller.pay_back(self.paid_seconds)
        self.paid_seconds = 0.0

    async def _rest(self) -> bytes:
        """Return the samples that the engine has not got yet."""
        if self._pcm is not None:
            rest, _ = await self._services.live.run(self._pcm.finish)
            self._charge(rest)
            return rest
        if self._decoded is None:
            told = "There is no audio to commit; send the prompt first."
            raise ApiError(415, "empty_audio", told, "audio")
        return self._decoded

    async def _add_pcm(self, data: bytes, options: StreamOptions) -> None:
        self._pcm = self._pcm or PcmPrompt(options.input_rate)
        self._pcm.require_room(len(data))
        if self._handle is None:
            link = self._services.engines.link(options.model.id, options.pace)
            self._handle = link.open_prompt(options.model, self._caller, recorded=True)
        for at in range(0, len(data), _PIECE_BYTES):
            if samples := await self._services.live.run(self._pcm.push, data[at : at + _PIECE_BYTES]):
                self._charge(samples)
                self._pcm_bytes += len(samples)
                self._held.hold_prompt(_kept_bytes(self._pcm_bytes))
                await self._handle.append(samples)

    def _charge(self, samples: bytes) -> None:
        self._caller.charge(seconds_of(samples))
        self.paid_seconds += seconds_of(samples)


def _kept_bytes(float_bytes: int) -> int:
    """Return the bytes that the engine keeps of float32 samples: 16 bits of each."""
    return float_bytes // 2
