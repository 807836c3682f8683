"""Prompts, and the chunks of them that are sent over a WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from os import PathLike

from whispergpt_client.request import File, read_file

CHUNK_BYTES = 16 * 1024
"""Largest number of bytes of one message."""

Prompt = File | Iterable[bytes]
"""Path, bytes of a file, or chunks as they come."""
AsyncPrompt = Prompt | AsyncIterable[bytes]


def is_file(prompt: AsyncPrompt) -> bool:
    """Return whether a prompt is a whole file, which can be sent again."""
    return isinstance(prompt, str | PathLike | bytes)


def chunks(prompt: Prompt) -> Iterator[bytes]:
    """Yield a prompt's bytes in messages of a bounded size. Raises OSError if a path cannot be read."""
    parts = [read_file(prompt)[1]] if isinstance(prompt, str | PathLike | bytes) else prompt
    for part in parts:
        for start in range(0, len(part), CHUNK_BYTES):
            yield part[start : start + CHUNK_BYTES]


async def async_chunks(prompt: AsyncPrompt) -> AsyncIterator[bytes]:
    """Yield as ``chunks`` does, also from asynchronous iterables."""
    if not isinstance(prompt, AsyncIterable):
        for chunk in chunks(prompt):
            yield chunk
        return
    async for part in prompt:
        for chunk in chunks(part):
            yield chunk
