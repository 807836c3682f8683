"""One decoder: a process that decodes one upload."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import BinaryIO

import msgspec
import numpy as np

from whispergpt.engine.audio import wire
from whispergpt.engine.audio.limits import MIN_PROMPT_SECONDS, AudioError
from whispergpt.engine.audio.resampler import LARGEST_SAMPLE
from whispergpt.engine.config import HOP, SAMPLE_RATE
from whispergpt.server.decoding.nursery import Nursery, NurseryError

Upload = bytes | bytearray | BinaryIO
"""Type of an upload: a whole file, or one to be read from its beginning."""
_PIECE_BYTES = 262_144
LONG_NICENESS = 15
"""Priority of long decoding: below prompts. Beside the frame step on all processors, it gets a thirtieth of one."""
_CODES = frozenset(
    ("empty_audio", "not_audio", "undecodable", "not_finite", "unusable_rate", "too_short", "too_long"),
)
_LONGEST_MESSAGE = 400
_UNKNOWN = "unknown"
_BLAMELESS = frozenset((_UNKNOWN, "SIGKILL", "SIGTERM", "SIGHUP", f"status {wire.DONE}", f"status {wire.NOT_READY}"))
"""Ways to end that an upload does not cause: the decoder was killed from outside, or was never ready."""
_FRAME_BYTES = HOP * 4
_LEAST_SAMPLE_BYTES = int(MIN_PROMPT_SECONDS * SAMPLE_RATE) // HOP * _FRAME_BYTES


class DecoderLost(Exception):
    """A decoder ended without an answer, or gave none that can be believed.

    Attributes:
        how: in which way it ended.
    """

    how = ""

    @property
    def blames_upload(self) -> bool:
        """Return whether the upload may be the cause, so that another decoder would end as well."""
        return True


class DecoderDied(DecoderLost):
    """A decoder ended before it had answered."""

    @property
    def blames_upload(self) -> bool:
        return self.how not in _BLAMELESS


class Decoder:
    """A process that waits for an upload. ``decode`` and ``end`` block; other methods may be called from any thread.

    Args:
        nursery: where it comes from.

    Raises:
        NurseryError: there is no process to be had.
    """

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._ended: str | None = None
        self._ending, self._ends = threading.Lock(), False
        try:
            self._connection, theirs = socket.socketpair()
        except OSError as error:
            raise NurseryError(f"no socket for a decoder: {error}") from None
        with theirs:
            try:
                self._child = nursery.fork(theirs)
            except BaseException:
                self._connection.close()
                raise

    @property
    def outlived(self) -> bool:
        """Return whether the nursery was started again since, so that this decoder has ended with the earlier one."""
        return self._child.run != self._nursery.run

    def decode(self, upload: Upload) -> bytes:
        """Return the upload as float32 samples at 24 kHz, in whole frames.

        Raises:
            AudioError: the decoder refused it.
            DecoderLost: the decoder did not survive it, or was cut off.
        """
        size, pieces = _open(upload)
        # A decoder that refuses early does not read on, but its answer is there.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.sendall(wire.UPLOAD.pack(size))
            for piece in pieces:
                self._connection.sendall(piece)
        try:
            kind, answer = self._answer()
        except ConnectionResetError:
            raise DecoderDied("it ended while it answered") from None
        if kind == wire.REFUSED:
            raise _refusal(answer)
        samples = np.frombuffer(answer, np.float32)
        if not (np.abs(samples) <= LARGEST_SAMPLE).all():
            raise DecoderLost("its samples are no numbers")
        return answer

    def cut(self) -> None:
        """End the conversation at once; ``decode`` raises ``DecoderLost``."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def give_way(self) -> None:
        """Lower its priority: prompts and short uploads go before long ones."""
        with self._alive() as alive, contextlib.suppress(OSError):
            if alive:
                os.setpriority(os.PRIO_PROCESS, self._child.pid, LONG_NICENESS)

    def stop(self) -> None:
        """Have it stand still."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it go on after ``stop``."""
        self._signal(signal.SIGCONT)

    def end(self) -> str:
        """End the process; returns how it ended: the name of a signal, or an exit status."""
        if self._ended is None:
            self._connection.close()
            with self._ending:
                self._ends = True
            self._ended = _named(self._nursery.end(self._child))
        return self._ended

    def _signal(self, number: signal.Signals) -> None:
        with self._alive() as alive, contextlib.suppress(OSError):
            if alive:
                os.kill(self._child.pid, number)

    @contextlib.contextmanager
    def _alive(self) -> Iterator[bool]:
        """Tell whether its pid is its own until the context ends: the nursery keeps it until it is asked to ``end``."""
        with self._ending:
            yield not self._ends and not self.outlived

    def _answer(self) -> tuple[int, bytes]:
        header = self._connection.recv(wire.ANSWER.size, socket.MSG_WAITALL)
        if len(header) < wire.ANSWER.size:
            raise DecoderDied("it ended without an answer")
        kind, size = wire.ANSWER.unpack(header)
        if kind == wire.SAMPLES:
            believed = _LEAST_SAMPLE_BYTES <= size <= wire.MOST_SAMPLE_BYTES and size % _FRAME_BYTES == 0
        else:
            believed = kind == wire.REFUSED and size <= wire.MOST_REFUSAL_BYTES
        if not believed:
            raise DecoderLost("its answer is none")
        # Received straight into the bytes that go to the engine.
        answer = self._connection.recv(size, socket.MSG_WAITALL)
        if len(answer) < size:
            raise DecoderDied("it ended while it answered")
        return kind, answer


def _named(status: int | None) -> str:
    """Return an exit status as the log has it."""
    if status is None:
        return _UNKNOWN
    try:
        return signal.Signals(-status).name if status < 0 else f"status {status}"
    except ValueError:  # a real-time signal
        return f"signal {-status}"


def _refusal(answer: bytes) -> AudioError:
    try:
        refusal = msgspec.json.decode(answer, type=wire.Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DecoderLost("its refusal is none") from None
    if refusal.code not in _CODES or not refusal.message.isprintable() or len(refusal.message) > _LONGEST_MESSAGE:
        raise DecoderLost("its refusal is none")
    return AudioError(refusal.code, refusal.message)


def _open(upload: Upload) -> tuple[int, Iterator[bytes | bytearray]]:
    """Return the size of an upload, and its pieces."""
    if isinstance(upload, bytes | bytearray):
        return len(upload), iter((upload,))
    size = upload.seek(0, io.SEEK_END)
    upload.seek(0)
    return size, iter(lambda: upload.read(_PIECE_BYTES), b"")
