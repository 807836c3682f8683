"""Prompts, and the chunks of them that are sent over a WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from os import PathLike

from whispergpt_client.request import File, binary, not_a_prompt, read_file

CHUNK_BYTES = 16 * 1024
"""Largest number of bytes of one message."""

Prompt = File | Iterable[bytes]
"""Path, bytes of a file, an open file, or chunks as they come."""
AsyncPrompt = Prompt | AsyncIterable[bytes]


def is_file(prompt: AsyncPrompt) -> bool:
    """Return whether a prompt is a path or bytes, which can be sent again."""
    return isinstance(prompt, str | PathLike | bytes | bytearray | memoryview)


def chunks(prompt: Prompt) -> Iterator[bytes]:
    """Yield a prompt's bytes in messages of a bounded size.

    Raises:
        OSError: a file cannot be read.
        ValueError: a part is not bytes.
    """
    parts: Iterable[object]
    if isinstance(prompt, str | PathLike | bytes | bytearray | memoryview):
        parts = [read_file(prompt)[1]]
    elif (read := getattr(prompt, "read", None)) is not None:
        parts = iter(lambda: read(CHUNK_BYTES), b"")
    elif isinstance(prompt, Iterable) and not hasattr(prompt, "__array__"):
        parts = prompt
    else:
        raise not_a_prompt(prompt)
    for part in map(binary, parts):
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
