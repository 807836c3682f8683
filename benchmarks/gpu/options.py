"""Sizes of the measurements: those for a GPU, and small ones with which a test runs the same code on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from whispergpt.benchmarks.preset import Preset

Tell = Callable[[dict[str, Any]], None]
"""Adds figures to a part's result, which has them even if the part does not come to its end."""


@dataclass(frozen=True)
class Options:
    """Sizes of all that is measured on a device.

    Attributes:
        seconds: length of each measurement of a rate, and of each run on playback clocks.
        streams: sizes of the steps that are timed, falling: the engine is made once, for the largest.
        steps: steps of each of these.
        frames: frames of each stream that are compared.
        seeds: streams that are compared.
        company: streams that play beside these.
        prompts: prompts that are timed one by one.
        starts: streams that start together.
        requests: requests of the run at ``RATE`` requests a second.
        listeners: most listeners over sockets.
        arrivals: listeners that come each second.
        stay: seconds for which all of them listen on, once the last has come.
        presets: models whose real-time streams are counted.
    """

    device: str
    seconds: float = 2.0
    streams: tuple[int, ...] = (8192, 2048, 512, 64, 1)
    steps: int = 100
    frames: int = 100
    seeds: int = 6
    company: int = 128
    prompts: int = 30
    starts: int = 512
    requests: int = 80
    listeners: int = 2000
    arrivals: float = 100.0
    stay: float = 4.0
    presets: tuple[Preset, ...] = get_args(Preset)


SMALL: dict[str, Any] = {
    "seconds": 0.1,
    "streams": (2, 1),
    "steps": 3,
    "frames": 3,
    "seeds": 2,
    "company": 3,
    "prompts": 3,
    "starts": 2,
    "requests": 10,
    "listeners": 2,
    "arrivals": 10.0,
    "stay": 1.0,
    "presets": ("default",),
}
"""Sizes for a CPU, whose figures mean nothing."""


def options_for(device: str) -> Options:
    """Return the sizes for a device by its name."""
    return Options(device, **SMALL) if device == "cpu" else Options(device)
