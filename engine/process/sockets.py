"""Sockets of the engine's process: one PAIR for each link."""

from __future__ import annotations

from collections.abc import Iterator

import zmq

from whispergpt.engine.messages.commands import Command, unpack_command
from whispergpt.engine.messages.events import Event, pack_event
from whispergpt.engine.process.links import LinkFullError

QUEUED_MESSAGES = 4096


class LinkSockets:
    """Sockets by the number of their link; link 0 goes to the process that started this one, and stays open.

    Args:
        endpoint: address of link 0.
    """

    def __init__(self, endpoint: str) -> None:
        self._poller = zmq.Poller()
        self._sockets: dict[int, zmq.Socket[bytes]] = {}
        self.open(0, endpoint)

    def open(self, link: int, endpoint: str) -> None:
        """Connect a link to an address."""
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
        socket.set(zmq.SNDHWM, QUEUED_MESSAGES)
        socket.set(zmq.RCVHWM, QUEUED_MESSAGES)
        socket.set(zmq.LINGER, 0 if link else 2000)
        socket.connect(endpoint)
        self._sockets[link] = socket
        self._poller.register(socket, zmq.POLLIN)

    def close(self, link: int) -> None:
        """Close a link; what waits in it is lost."""
        if socket := self._sockets.pop(link, None):
            self._poller.unregister(socket)
            socket.close()

    def send(self, link: int, event: Event) -> None:
        """Send an event, waiting while the queue of link 0 is full.

        Raises:
            LinkFullError: the queue of another link is full.
        """
        try:
            self._sockets[link].send_multipart(pack_event(event), zmq.NOBLOCK if link else 0, copy=False)
        except zmq.Again:
            raise LinkFullError from None

    def watch(self, descriptor: int) -> None:
        """Have ``wait`` end early if a file descriptor becomes readable."""
        self._poller.register(descriptor, zmq.POLLIN)

    def wait(self, seconds: float) -> set[int]:
        """Wait until a socket or descriptor is readable, at most ``seconds``; returns the readable descriptors."""
        return {one for one, _ in self._poller.poll(int(seconds * 1000)) if isinstance(one, int)}

    def commands(self) -> Iterator[Command]:
        """Yield the commands that wait."""
        for link in list(self._sockets):
            for _ in range(QUEUED_MESSAGES):
                if link not in self._sockets:  # closed by the command before
                    break
                try:
                    data = self._sockets[link].recv(zmq.NOBLOCK)
                except zmq.Again:
                    break
                yield unpack_command(data)
