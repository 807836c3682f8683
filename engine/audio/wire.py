"""Messages between the server and its decoders, over sockets of their own.

The server asks the nursery (``whispergpt.engine.audio.nursery``) for decoders, and tells it to end them. Each decoder
gets one upload, as its size and its bytes, and answers with samples or with a refusal. Neither side of the second
socket trusts the other: nothing is unpickled, and every size is checked against its limit.
"""

from __future__ import annotations

import struct

import msgspec

from whispergpt.engine.audio.limits import MAX_PROMPT_SECONDS
from whispergpt.engine.config import SAMPLE_RATE

ASK = struct.Struct("<ci")
"""Request to the nursery: ``FORK`` with a socket beside it, or ``END`` and the pid of a decoder."""
TOLD = struct.Struct("<ii")
"""Answer of the nursery: a pid, and the status with which that process ended, as ``os.waitpid`` gives it.

Without a decoder: -1, and the number of the system's error.
"""
FORK, END = b"F", b"E"
NOT_YET = 0
"""Value of the pid while a decoder is still being ended: ask again."""
CONFINED, UNCONFINED = 1, 0
"""Status in the nursery's first message: whether decoders' system calls can be filtered here."""

UPLOAD = struct.Struct("<Q")
"""Header of an upload to a decoder: number of bytes that follow."""
ANSWER = struct.Struct("<BI")
"""Header of a decoder's answer: ``SAMPLES`` or ``REFUSED``, and the number of bytes that follow."""
SAMPLES, REFUSED = 0, 1
DONE, NOT_READY, FAILED = 0, 1, 2
"""Exit status of a decoder: answered or not needed; failed before it could take an upload; failed at the upload."""
MOST_SAMPLE_BYTES = int(MAX_PROMPT_SECONDS * SAMPLE_RATE) * 4
"""Bytes of the longest prompt as float32, mono, 24 kHz."""
MOST_REFUSAL_BYTES = 4_096


class Refusal(msgspec.Struct, frozen=True):
    """An ``AudioError`` in a decoder's answer."""

    code: str
    message: str
