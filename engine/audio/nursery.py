"""The process that forks decoders, and the decoders: each decodes one upload and ends.

The server runs it as ``python -m whispergpt.engine.audio.nursery FD CPU_SECONDS MEMORY_BYTES``. It loads the decoders'
libraries once and forks a decoder at each request, which takes milliseconds; it never reads an upload. A decoder
confines itself before it reads its only upload, so a malicious upload cannot affect another.
"""

from __future__ import annotations

import array
import errno
import gc
import io
import os
import signal
import socket
import sys
from collections.abc import Callable

import msgspec
import numpy as np
import soundfile

from whispergpt.engine.audio import ffmpeg, wire  # noqa: F401 - ffmpeg is loaded here, once
from whispergpt.engine.audio.audio_file import AudioError, Memory, cut_prompt, read_audio
from whispergpt.engine.audio.confinement import SOCKET_FD, confine

NICENESS = 3
"""Decoders give way to the frame step, since listeners wait for it: beside it, they get a third of a processor."""


def main(arguments: list[str]) -> int:
    """Fork and end decoders until the server closes its socket; returns the exit status."""
    fd, cpu_seconds, memory_bytes = map(int, arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    sample = _warm_up()
    gc.collect()
    gc.freeze()
    null = os.open(os.devnull, os.O_RDWR)
    with socket.socket(fileno=fd) as control:
        control.sendall(wire.TOLD.pack(0, _try_filter()))
        decoders: set[int] = set()
        try:
            while _serve(control, decoders, null, sample, cpu_seconds, memory_bytes):
                pass
        finally:
            for pid in decoders:
                os.kill(pid, signal.SIGKILL)
    return 0


def _serve(
    control: socket.socket, decoders: set[int], null: int, sample: bytes, cpu_seconds: int, memory_bytes: int
) -> bool:
    """Do what the server asks next; return False once it is gone."""
    request, fds = _receive(control)
    if len(request) < wire.ASK.size:
        return False
    what, pid = wire.ASK.unpack(request)
    status = 0
    if what == wire.FORK:
        parent = os.getpid()
        try:
            if not fds:
                raise OSError(errno.EBADF, "no socket came with the request")
            pid = _fork(lambda: _become_decoder(fds[0], null, sample, parent, cpu_seconds, memory_bytes))
            decoders.add(pid)
        except OSError as error:  # no room for another process now; running decoders continue
            pid, status = -1, error.errno or errno.EAGAIN
    elif what == wire.END and pid in decoders:
        os.kill(pid, signal.SIGKILL)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:  # freeing its memory takes a while, and other requests must not wait
            pid = wire.NOT_YET
        else:
            decoders.discard(pid)
    for fd in fds:
        os.close(fd)
    control.sendall(wire.TOLD.pack(pid, status))
    return True


def _fork(work: Callable[[], int]) -> int:
    """Run ``work`` in a new process, which ends with the status that it returns; return the pid.

    The new process leaves by ``os._exit`` in any case, so that it runs none of the caller's cleanup.

    Raises:
        OSError: the system has no room for a process.
    """
    parent = os.getpid()
    status = wire.NOT_READY
    try:
        pid = os.fork()
        if pid == 0:
            status = work()
        return pid
    finally:
        if os.getpid() != parent:
            os._exit(status)


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    try:
        request, ancillary, _, _ = control.recvmsg(wire.ASK.size, socket.CMSG_SPACE(array.array("i").itemsize))
        if 0 < len(request) < wire.ASK.size:
            request += control.recv(wire.ASK.size - len(request), socket.MSG_WAITALL)
    except OSError:
        return b"", []
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return request, list(fds)


def _become_decoder(fd: int, null: int, sample: bytes, parent: int, cpu_seconds: int, memory_bytes: int) -> int:
    for standard in range(SOCKET_FD):
        os.dup2(null, standard)
    os.dup2(fd, SOCKET_FD)  # may replace null or the control socket, which are no longer needed
    os.closerange(SOCKET_FD + 1, os.sysconf("SC_OPEN_MAX"))
    connection = socket.socket(fileno=SOCKET_FD)
    confine(parent, cpu_seconds, memory_bytes)
    # A forked process copies each page that it first writes to. Decoding a sample does that before an upload waits.
    cut_prompt(read_audio(sample))
    try:
        _decode_one(connection)
    except Exception:  # the exit status tells the server
        return wire.FAILED
    return wire.DONE


def _decode_one(connection: socket.socket) -> None:
    try:
        samples = cut_prompt(read_audio(_upload(connection)))
        kind, answer = wire.SAMPLES, samples.astype("<f4", copy=False).data.cast("B")
    except AudioError as error:
        kind, answer = wire.REFUSED, memoryview(msgspec.json.encode(wire.Refusal(error.code, str(error))))
    except MemoryError:
        told = "The file takes more memory to decode than a prompt may have."
        kind, answer = wire.REFUSED, memoryview(msgspec.json.encode(wire.Refusal("undecodable", told)))
    connection.sendall(wire.ANSWER.pack(kind, answer.nbytes))
    connection.sendall(answer)


def _upload(connection: socket.socket) -> Memory:
    header = connection.recv(wire.UPLOAD.size, socket.MSG_WAITALL)
    if len(header) < wire.UPLOAD.size:
        os._exit(wire.DONE)  # the server no longer needs this decoder
    (size,) = wire.UPLOAD.unpack(header)
    memory = Memory(bytes(size))
    with memory.getbuffer() as view:
        read = 0
        while read < size:
            count = connection.recv_into(view[read:])
            if not count:
                os._exit(wire.DONE)
            read += count
    return memory


def _sample(kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(24_000, np.float32), 48_000, format=kind)
    return file.getvalue()


def _warm_up() -> bytes:
    """Decode samples, so that libraries load what they load at first use; return a sample for decoders to warm up."""
    for kind in ("FLAC", "OGG", "MP3"):
        cut_prompt(read_audio(_sample(kind)))
    wav = _sample("WAV")
    cut_prompt(read_audio(wav))
    return wav


def _try_filter() -> int:
    """Return ``CONFINED`` if a decoder's system calls can be filtered here, else ``UNCONFINED``."""
    parent = os.getpid()
    pid = _fork(lambda: 0 if confine(parent, 1, 0) else 1)
    _, status = os.waitpid(pid, 0)
    return wire.CONFINED if status == 0 else wire.UNCONFINED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
