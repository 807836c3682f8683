"""The devices of a server's engines: one engine for each device that the setting names."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from whispergpt.server.settings import Settings


class DevicesError(Exception):
    """The setting names no device that this machine has; the message is for the user."""


@dataclass(frozen=True)
class EngineDevice:
    """Device of one engine.

    Attributes:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        number: of the engine, from 0.
        engines: all engines of the server.
        sharing: engines that compute on the processors and share them, this one included.
    """

    name: str = "auto"
    number: int = 0
    engines: int = 1
    sharing: int = 1


def named_devices(settings: Settings) -> list[EngineDevice]:
    """Return a device for each engine; none if the setting is ``all``, whose devices are still to be counted."""
    return [] if settings.device == "all" else _numbered(settings.devices)


async def devices_of(settings: Settings) -> list[EngineDevice]:
    """Return a device for each engine, and count the devices of ``all``.

    Raises:
        DevicesError: every CUDA device is wanted, and torch can use none or cannot count them.
        OSError: the process that counts them cannot be made.
    """
    return named_devices(settings) or _numbered(await _cuda_devices(settings.start_seconds))


def _numbered(names: Sequence[str]) -> list[EngineDevice]:
    cpus = max(1, names.count("cpu"))
    return [EngineDevice(name, number, len(names), cpus) for number, name in enumerate(names)]


async def _cuda_devices(seconds: float) -> list[str]:
    """Return the CUDA devices that torch can use, asked for in a process of its own: the server loads no torch."""
    counting = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "whispergpt.engine.child",
        str(os.getpid()),
        "whispergpt.engine.device",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await asyncio.wait_for(counting.communicate(), seconds)
    except TimeoutError:
        raise DevicesError(f"the CUDA devices were not counted within {seconds:g} s") from None
    finally:
        if counting.returncode is None:
            counting.kill()
    if counting.returncode != 0:
        raise DevicesError(f"the CUDA devices could not be counted: torch ended with status {counting.returncode}")
    count, version = said.decode().split()[-2:]
    if count == "0":
        raise DevicesError(f"This machine has no CUDA device that torch {version} can use.")
    return [f"cuda:{number}" for number in range(int(count))]
