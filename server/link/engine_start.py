"""Start of an engine: the models that its process loads, or the reason why there are none."""

from __future__ import annotations

import asyncio

import msgspec

from whispergpt.engine.messages.events import Event, LoadFailed, ModelInfo, Ready
from whispergpt.server.link.engine_socket import EngineRun


class EngineStartError(Exception):
    """The engine could not start; the message is for the user.

    ``status``: exit status of the server, 2 where a named model or device cannot be used.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


async def loaded_models(process: EngineRun, seconds: float) -> list[ModelInfo]:
    """Wait until every model of a started process has generated, and return the models.

    Raises:
        EngineStartError: it could not load, died on the way or took longer than ``seconds``.
    """
    death = asyncio.create_task(process.wait())
    first = asyncio.create_task(process.receive())
    try:
        await asyncio.wait([death, first], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if death.done() and not first.done():
            # Its last messages may still be on their way.
            await asyncio.wait([first], timeout=0.5)
        if first.done():
            return _models_of(first.result())
        if death.done():
            raise EngineStartError(death.result())
        raise EngineStartError(f"the engine was not ready within {seconds:g} s")
    except msgspec.ValidationError as error:
        raise EngineStartError(f"the engine's first message is not understood: {error}") from None
    finally:
        first.cancel()
        death.cancel()


def _models_of(event: Event) -> list[ModelInfo]:
    if isinstance(event, LoadFailed):
        raise EngineStartError(event.message, status=2)
    if not isinstance(event, Ready) or not event.models:
        raise EngineStartError(f"the engine began with {type(event).__name__} and not with its models")
    return event.models
