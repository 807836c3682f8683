"""The engine in its own process: commands in, one report per step out, over a ZeroMQ socket.

Run as ``python -m whispergpt.engine.process.worker ENDPOINT PARENT OPTIONS``: the ZeroMQ address to connect to, the
pid of the process that starts this one, and ``EngineOptions`` as JSON. The loop does, in turn: commands, one frame step
of each model, prompts that the desk has finished. It sleeps only when nothing is due, and exits when its parent is
gone.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial

import msgspec

from whispergpt.engine.checkpoints.checkpoint import ModelError
from whispergpt.engine.config import EngineOptions
from whispergpt.engine.device import DeviceError, loss_of_device
from whispergpt.engine.engine import Engine
from whispergpt.engine.messages.commands import CloseLink, OpenLink
from whispergpt.engine.messages.events import LinkLost, LoadFailed, Ready, pack_event
from whispergpt.engine.process.commands import MAX_PROMPTS, Worker
from whispergpt.engine.process.links import Links
from whispergpt.engine.process.sockets import LinkSockets
from whispergpt.engine.prompts.desk import PromptDesk
from whispergpt.engine.short_slices import take_short_slices
from whispergpt.engine.streams.capacity import Capacity

SWITCH_SECONDS = 0.0005
"""Seconds after which a thread gives Python's lock to one that waits: a prompt must not hold up the step."""
IDLE_SECONDS = 1.0
"""Longest sleep in seconds, after which the worker looks whether its parent lives."""
DEVICE_LOST = 3
"""Exit status of a worker whose device fails from now on: the server starts another."""


def serve(endpoint: str, parent: int, options: EngineOptions) -> int:
    """Load the models, say ``Ready``, and work until drained or without ``parent``; returns the exit status."""
    sockets = LinkSockets(endpoint)
    send = partial(sockets.send, 0)
    try:
        engines: dict[str, Engine] = {}
        for name in options.models:
            engine = Engine.load(
                name, options.device, options.max_streams, options.exact, options.dtype, options.sharing
            )
            engine.warm_up()
            if engine.model.id in engines:
                raise ModelError(f"The model {engine.model.id!r} is given twice.")
            engines[engine.model.id] = engine
    except (ModelError, DeviceError) as error:
        send(LoadFailed(str(error)))
        return 2
    packing = Links(pack_event)
    costs = {name: engine.step_cost(partial(packing.send_step, name)) for name, engine in engines.items()}
    capacity = Capacity(costs, options.max_load)
    # Objects that live as long as the process need not be collected: looking through them takes 80 ms.
    gc.collect()
    gc.freeze()
    ready = Ready([engine.info() for engine in engines.values()])
    send(ready)
    sys.setswitchinterval(SWITCH_SECONDS)
    take_short_slices()
    wake, waker = alarm()
    desk = PromptDesk(options.prompt_cache_bytes, waker)
    try:
        most_prompts = max(MAX_PROMPTS, 2 * options.max_streams)
        loop(sockets, wake, Worker(engines, send, desk, capacity, most_prompts), ready, parent)
    except Exception as error:
        if (told := loss_of_device(error)) is None:
            raise
        sys.stderr.write(f"{told}\n")
        return DEVICE_LOST
    desk.close()
    return 0


def alarm() -> tuple[int, Callable[[], None]]:
    """Return a descriptor, and a function that makes it readable from any thread."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)

    def ring() -> None:
        with contextlib.suppress(BlockingIOError):  # full: it rings already
            os.write(writer, b".")

    return reader, ring


def loop(sockets: LinkSockets, wake: int, worker: Worker, ready: Ready, parent: int) -> None:
    """Work until drained or without ``parent``; ``wake`` is the descriptor of an alarm that ends a sleep."""
    sockets.watch(wake)
    wait: float | None = 0.0
    while not worker.finished and os.getppid() == parent:
        if wake in sockets.wait(IDLE_SECONDS if wait is None else min(wait, IDLE_SECONDS)):
            os.read(wake, 4096)
        for command in sockets.commands():
            if isinstance(command, OpenLink):
                sockets.open(command.link, command.endpoint)
                sockets.send(command.link, ready)
                worker.links.open(command.link, partial(sockets.send, command.link))
            elif isinstance(command, CloseLink):
                worker.close_link(command.link)
                sockets.close(command.link)
            else:
                worker.handle(command)
        wait = worker.turn()
        for lost in list(worker.links.lost):
            worker.close_link(lost)
            sockets.close(lost)
            sockets.send(0, LinkLost(lost))


def main() -> int:
    """Read the command line that the server starts and serve; returns the exit status."""
    _, endpoint, parent, options = sys.argv
    # The terminal's Ctrl-C reaches the whole group: the server decides when the engine stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return serve(endpoint, int(parent), msgspec.convert(json.loads(options), EngineOptions))


if __name__ == "__main__":
    sys.exit(main())
