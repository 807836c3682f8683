"""What one machine's work costs, as ``whispergpt.benchmarks.simulation.measure`` measured it."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.streams.capacity import StepCost

MEASURED = Path(__file__).parent / "two_cores.json"


class TabledCost(StepCost):
    """The same, each number of streams looked up once: a region asks for millions of steps."""

    @functools.cached_property
    def _known(self) -> dict[int, float]:
        return {}

    def of(self, streams: int) -> float:
        if streams not in self._known:
            self._known[streams] = super().of(streams)
        return self._known[streams]


class Curve(msgspec.Struct, frozen=True):
    """Seconds of a step for so many streams."""

    streams: list[int]
    seconds: list[float]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of machine. Shares are of the whole machine, all its cores.

    Attributes:
        machine, model, command, date: where these figures come from.
        cores: how many the machine has.
        step: the model's step alone, as the engine measures it at its start.
        turn: a step with all that goes with it in the engine: scheduling, copies, its message to the server.
        spread: quantiles of a step's time over its median, evenly spaced, lowest first.
        prompt_least, prompt_rate: seconds of work of any prompt, and of each second of prompt, where nothing plays.
        recall_frames, recall_seconds: that a token holds, and the work of making a stream anew from it.
        prompts_slow: how many times as long steps take while prompts are worked on.
        prompts_share: how fast prompts are worked on beside steps, alone being 1.
        listener_share: that the server takes for each listener, beside the steps.
        generator_share: that the load generator takes, where it runs on the same machine.
        start_seconds: from a server's start until it is ready.
        slot_bytes: memory of one stream's state.
        token_bytes: a resume token.
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
        """The same where whoever listens takes the machine's time too."""
        return msgspec.structs.replace(self, listener_share=self.listener_share + self.generator_share)

    def turn_seconds(self, streams: int, listeners: int) -> float:
        """A turn for so many streams on average, beside what so many listeners cost the server."""
        mean = sum(self.spread) / len(self.spread)
        return self.turn_cost().of(streams) * mean / self.left(listeners)

    def left(self, listeners: int) -> float:
        """The share of the machine that so many listeners leave to the engine; a hundredth at least."""
        return max(0.01, 1 - self.listener_share * listeners)

    def bears(self, slots: int, most_load: float) -> int:
        """Real-time streams whose steps take ``most_load`` of a frame's time, no prompts beside; ``slots`` where that
        is 0."""
        if most_load == 0:
            return slots
        allowed = most_load / FRAME_RATE
        return max((n for n in range(1, slots + 1) if self.turn_seconds(n, n) <= allowed), default=1)

    def step_cost(self) -> StepCost:
        """What a server takes its machine for at its start."""
        return TabledCost(self.step.streams, self.step.seconds)

    def turn_cost(self) -> StepCost:
        """What a turn really takes."""
        return TabledCost(self.turn.streams, self.turn.seconds)


def read_profile(path: Path) -> Profile:
    """Read one.

    Raises:
        ValueError: the file is missing, or holds something else; the message names it.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Profile)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}.") from None
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} is not a machine's profile: {error}.") from None
