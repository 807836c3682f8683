"""A prompt as the chunks that are sent over a WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from os import PathLike

from whispergpt_client.request import File, read_file

CHUNK_BYTES = 16 * 1024
"""Bytes of one message where a whole file is sent."""

Prompt = File | Iterable[bytes]
"""A path, the bytes of a file, or chunks as they come."""
AsyncPrompt = Prompt | AsyncIterable[bytes]


def is_file(prompt: AsyncPrompt) -> bool:
    """Whether it is all there, and can be sent again."""
    return isinstance(prompt, str | PathLike | bytes)


def chunks(prompt: Prompt) -> Iterator[bytes]:
    """Yield a prompt's bytes in messages of a bounded size. Raises OSError where a path cannot be read."""
    parts = [read_file(prompt)[1]] if isinstance(prompt, str | PathLike | bytes) else prompt
    for part in parts:
        for start in range(0, len(part), CHUNK_BYTES):
            yield part[start : start + CHUNK_BYTES]


async def async_chunks(prompt: AsyncPrompt) -> AsyncIterator[bytes]:
    """``chunks`` for prompts that may also be asynchronous iterables."""
    if not isinstance(prompt, AsyncIterable):
        for chunk in chunks(prompt):
            yield chunk
        return
    async for part in prompt:
        for chunk in chunks(part):
            yield chunk
