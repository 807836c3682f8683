"""Handle of a request on a prompt in the engine; closing it frees the room there at once."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self

from whispergpt.engine.messages.commands import AppendPrompt, CommitPrompt, DropPrompt
from whispergpt.engine.messages.events import ModelInfo, PromptFailed, PromptReady
from whispergpt.server.errors import ApiError, audio_error
from whispergpt.server.observe.tracing import Tracing

if TYPE_CHECKING:
    from whispergpt.server.link.engine_link import EngineLink

_APPEND_BYTES = 4 * 24_000
"""One second of samples: no message to the engine is large."""


class PromptHandle:
    """A prompt in the engine. Use as ``with``: leaving drops it.

    Attributes:
        link: to the engine that has it, and plays its streams.
        model: as this engine loaded it.
        recorded: whether its audio still comes as it is recorded, so that no place is kept for its stream yet.
    """

    def __init__(self, link: EngineLink, prompt_id: int, model: ModelInfo, recorded: bool = False) -> None:
        self.prompt_id, self.model = prompt_id, model
        self.link, self.recorded = link, recorded
        self._answer: asyncio.Future[PromptReady] = asyncio.get_running_loop().create_future()
        # A prompt may be dropped while no task waits; its error is then ignored.
        self._answer.add_done_callback(lambda done: done.cancelled() or done.exception())

    @property
    def answered(self) -> bool:
        """Return whether the engine has accepted or refused the prompt."""
        return self._answer.done()

    async def append(self, samples: bytes) -> None:
        """Add mono float32 little-endian samples at 24 kHz.

        Raises:
            ApiError: the engine is gone.
        """
        view = memoryview(samples)
        for start in range(0, len(view), _APPEND_BYTES):
            self._raise_if_failed()
            await self.link.send(AppendPrompt(self.prompt_id, bytes(view[start : start + _APPEND_BYTES])))

    async def commit(self, tracing: Tracing, decoded: bool = False, patience: float | None = None) -> PromptReady:
        """Say that the prompt is whole, and wait until it is encoded and prefilled.

        Args:
            decoded: whether the answer is to hold the prompt's samples, as the codec gives them back.
            patience: seconds that it may wait for others, or it is refused at once; None where it may wait for ever.

        Raises:
            ApiError: the engine refused the prompt, is gone or hangs.
        """
        with tracing.span("prompt", model=self.model.id):
            self._raise_if_failed()
            self.recorded = False
            self.link.post(CommitPrompt(self.prompt_id, decoded, patience))
            ready = await self.made()
            tracing.past("encode", ready.encode_seconds, ready.prefill_seconds)
            tracing.past("prefill", ready.prefill_seconds)
        return ready

    async def made(self) -> PromptReady:
        """Wait until a whole prompt can be continued.

        Raises:
            ApiError: the engine refused the prompt, is gone or hangs.
        """
        await asyncio.wait([self._answer])  # the link answers for an engine that hangs
        return self._answer.result()

    def close(self) -> None:
        """Forget the prompt; streams started from it go on."""
        if self.link.forget_prompt(self.prompt_id):
            self.link.post(DropPrompt(self.prompt_id))
        self._answer.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- called by the link

    def ready(self, event: PromptReady) -> None:
        if not self._answer.done():
            self._answer.set_result(event)

    def refused(self, event: PromptFailed) -> None:
        self.fail(audio_error(event.code, event.message))

    def fail(self, error: ApiError) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)

    def _raise_if_failed(self) -> None:
        if self._answer.done():
            self._answer.result()
