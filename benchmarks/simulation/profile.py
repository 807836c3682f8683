"""Costs of one machine, as measured by ``whispergpt.benchmarks.simulation.measure``."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.streams.capacity import StepCost

MEASURED = Path(__file__).parent / "two_cores.json"


class TabledCost(StepCost):
    """Step cost that caches its values, since a region looks up millions of steps."""

    @functools.cached_property
    def _known(self) -> dict[int, float]:
        return {}

    def of(self, streams: int) -> float:
        if streams not in self._known:
            self._known[streams] = super().of(streams)
        return self._known[streams]


class Curve(msgspec.Struct, frozen=True):
    """Seconds of a step by number of streams."""

    streams: list[int]
    seconds: list[float]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Costs of one kind of machine. Shares refer to all cores of the machine.

    Attributes:
        machine, model, command, date: origin of these values.
        cores: number of cores.
        step: time of a step as the engine measures it at its start.
        turn: time of a step with all that goes with it, as a server takes it.
        spread: evenly spaced quantiles of a step's time over its median, lowest first.
        prompt_least, prompt_rate: seconds of work for any prompt, and for each second of it, on an idle machine.
        recall_frames, recall_seconds: frames that a token holds, and seconds to restore a stream from it.
        prompts_slow: factor by which steps slow down while prompts are encoded.
        prompts_share: speed of prompts beside steps, relative to an idle machine.
        listener_share: share of the machine that the server uses for each listener, besides steps.
        generator_share: share that the load generator uses for each listener if it runs on the same machine.
        start_seconds: seconds from a server's start until it is ready.
        slot_bytes: memory of one stream's state.
        token_bytes: size of a resume token.
    """

    machine: str
    model: str
    command: str
    date: str
    cores: int
    step: Curve
    turn: Curve
    spread: list[float]
    prompt_least: float
    prompt_rate: float
    recall_frames: int
    recall_seconds: float
    prompts_slow: float
    prompts_share: float
    listener_share: float
    generator_share: float
    start_seconds: float
    slot_bytes: int
    token_bytes: int

    def with_generator(self) -> Profile:
        """Return this profile with the load generator on the same machine."""
        return msgspec.structs.replace(self, listener_share=self.listener_share + self.generator_share)

    def turn_seconds(self, streams: int, listeners: int) -> float:
        """Return the mean seconds of a turn of ``streams`` streams while the server has ``listeners`` listeners."""
        mean = sum(self.spread) / len(self.spread)
        return self.turn_cost().of(streams) * mean / self.left(listeners)

    def left(self, listeners: int) -> float:
        """Return the share of the machine that ``listeners`` listeners leave to the engine, at least 0.01."""
        return max(0.01, 1 - self.listener_share * listeners)

    def bears(self, slots: int, most_load: float) -> int:
        """Return the most real-time streams with steps of at most ``most_load`` of a frame's time, without prompts.

        A ``most_load`` of 0 means no limit besides ``slots``.
        """
        if most_load == 0:
            return slots
        allowed = most_load / FRAME_RATE
        return max((n for n in range(1, slots + 1) if self.turn_seconds(n, n) <= allowed), default=1)

    def step_cost(self) -> StepCost:
        """Return the step cost that a server assumes at its start."""
        return TabledCost(self.step.streams, self.step.seconds)

    def turn_cost(self) -> StepCost:
        """Return the real cost of a turn."""
        return TabledCost(self.turn.streams, self.turn.seconds)


def read_profile(path: Path) -> Profile:
    """Read a profile from a file.

    Raises:
        ValueError: the file is missing or is no profile; the message names it.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Profile)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}.") from None
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} is not a machine's profile: {error}.") from None
