"""Messages between the server and its decoders, over sockets of their own.

The server asks the nursery (``whispergpt.engine.audio.nursery``) for decoders, and tells it to end them. Each decoder
gets one upload, as its size and its bytes, and answers with samples or with a refusal. Neither side of the second
socket trusts the other: nothing is unpickled, and no size is believed beyond its bound.
"""

from __future__ import annotations

import struct

import msgspec

from whispergpt.engine.audio.limits import MAX_PROMPT_SECONDS
from whispergpt.engine.config import SAMPLE_RATE

ASK = struct.Struct("<ci")
"""To the nursery: ``FORK`` with a socket beside it, or ``END`` and the pid of a decoder."""
TOLD = struct.Struct("<ii")
"""From the nursery: a pid, and the status with which that process ended, as ``os.waitpid`` has it.

Where there is no decoder to be had: -1, and the number of the system's error.
"""
FORK, END = b"F", b"E"
NOT_YET = 0
"""In place of the pid of a decoder that is being ended: ask again."""
CONFINED, UNCONFINED = 1, 0
"""First word of the nursery, in place of a status: whether the system lets decoders have a filter."""

UPLOAD = struct.Struct("<Q")
"""To a decoder: the bytes that follow."""
ANSWER = struct.Struct("<BI")
"""From a decoder: ``SAMPLES`` or ``REFUSED``, and the bytes that follow."""
SAMPLES, REFUSED = 0, 1
DONE, NOT_READY, FAILED = 0, 1, 2
"""Exit status of a decoder: it answered or was not needed, failed before it could take an upload, failed at one."""
MOST_SAMPLE_BYTES = int(MAX_PROMPT_SECONDS * SAMPLE_RATE) * 4
"""Float32, mono, 24 kHz."""
MOST_REFUSAL_BYTES = 4_096


class Refusal(msgspec.Struct, frozen=True):
    """An ``AudioError``, as a decoder says it."""

    code: str
    message: str
