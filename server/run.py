"""Starts the server: the address first, then the engines' processes, and while these load the server's modules."""

from __future__ import annotations

import asyncio
import socket
import sys

from whispergpt.engine.checkpoints.hub_errors import HubError
from whispergpt.engine.extras import MissingPackageError
from whispergpt.server.hub_models import with_hub_models
from whispergpt.server.library_versions import check_libraries
from whispergpt.server.link.devices import EngineDevice, named_devices
from whispergpt.server.link.engine_process import EngineProcess
from whispergpt.server.listener import listen, reserve
from whispergpt.server.observe import logs
from whispergpt.server.observe.allocator import return_large_blocks
from whispergpt.server.serve_error import ServeError
from whispergpt.server.settings import Settings, warn_of_unknown_variables


def serve(settings: Settings, kind: type[EngineProcess] = EngineProcess) -> None:
    """Serve until told to stop.

    Args:
        kind: process of the first run of each engine.

    Raises:
        ServeError: a library or the address cannot be used, the models cannot be loaded, or ``strict`` and the engine
            crashed.
    """
    logs.configure(settings.log_level, settings.log_lines)
    check_libraries()
    warn_of_unknown_variables()
    try:
        settings = with_hub_models(settings)
    except (HubError, MissingPackageError) as error:
        raise ServeError(str(error), 2) from None
    return_large_blocks()
    with listen(settings) if settings.front_ends == 1 else reserve(settings) as listener:
        asyncio.run(_serve(settings, listener, kind))


async def _serve(settings: Settings, listener: socket.socket, kind: type[EngineProcess]) -> None:
    started = [await _started_engine(kind, settings, device) for device in named_devices(settings)]
    engines = [engine for engine in started if engine is not None]
    try:
        # Imported here, which takes as long as the engines need to import torch at the same time.
        if settings.front_ends > 1:
            from whispergpt.server.workers import hub

            await hub.run(settings, listener, engines)
        else:
            from whispergpt.server import serving

            await asyncio.sleep(0)  # an interrupt during the import ends it here, before the application starts
            await serving.run(settings, listener, engines)
    finally:
        for engine in engines:
            await engine.close()


async def _started_engine(kind: type[EngineProcess], settings: Settings, device: EngineDevice) -> EngineProcess | None:
    """Return the engine's process; None where it cannot be started, which the supervisor tries again and tells."""
    engine: EngineProcess | None = None
    try:
        engine = kind(settings, device)
        await engine.start()
    except OSError:
        if engine is not None:
            await engine.close()
        return None
    return engine


if __name__ == "__main__":
    try:
        serve(Settings())
    except ServeError as problem:
        sys.stderr.write(f"whispergpt serve: {problem}\n")
        sys.exit(problem.status)
