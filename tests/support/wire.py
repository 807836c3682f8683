"""Bytes to a server as they stand, and the answers that come back, counted."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

import httptools

from tests.support.http import raw_connection


@dataclass
class Answer:
    """One answer; names of headers are in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False


class Answers:
    """Takes what a connection brings apart. Interim answers (1xx) are left out."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer = Answer()
        self.all: list[Answer] = []

    def feed(self, data: bytes) -> None:
        """Take more bytes."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._answer = Answer()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        if self._answer.status >= 200:
            self.all.append(self._answer)

    def on_body(self, body: bytes) -> None:
        self._answer.body += body

    def on_message_complete(self) -> None:
        self._answer.whole = True


def answers_to(url: str, *writes: bytes, half_close: bool = False) -> list[Answer]:
    """Return what a server answers on one connection until it closes it.

    The connection must be one that ends: by a last request with ``Connection: close``, by ``half_close`` or an error.
    """
    with raw_connection(url) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return exchange(wire, writes, half_close)


def exchange(wire: socket.socket, writes: Sequence[bytes], half_close: bool = False) -> list[Answer]:
    """Do as ``answers_to`` on a connection that is there."""
    answers = Answers()
    try:
        for piece in writes:
            wire.sendall(piece)
        if half_close:
            wire.shutdown(socket.SHUT_WR)
        while data := wire.recv(65_536):
            answers.feed(data)
    except ConnectionError:  # what was told before the end is still told
        pass
    return answers.all
